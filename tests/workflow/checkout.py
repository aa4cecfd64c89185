"""A small checkout to run the real Snakemake in: the repository's code with one tiny setting of a user's own."""

from __future__ import annotations

import atexit
import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workflow.this_process import REPOSITORY, command_line, forked_snakemake, make

COPIED = ("Snakefile", "workflow", "profiles", "src", "configs", "pyproject.toml")
TARGETS = ("results/leaderboard.csv", "results/figures/overview.svg", "results/figures/lds-toy.svg")
"""Artefacts that, with those that they are made from, are all that rule `all` makes."""
REPORTS = {"explain", "pack", "plan", "provenance", "prune", "status", "unpack", "verify"}
"""Subcommands that compute nothing, and need no process of their own."""

NOT_INHERITED = ("PYTHONPATH", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
"""Variables of the tests that processes in a checkout do not see; without bytecode each would compile the package."""

FACTORIES = '''"""A dataset and a model that are not in the repository."""

import torch

from proponent.settings import Split


def blobs(n: int = 60, seed: int = 0) -> Split:
    """Three Gaussian blobs in the plane."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n + 9) % 3
    x = torch.randn(n + 9, 2, generator=generator) + 2 * torch.stack([y == 1, y == 2], dim=1).float()
    return Split(train=(x[:n], y[:n]), query=(x[n:], y[n:]))


def net(width: int = 5) -> torch.nn.Module:
    """A small network."""
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 3))
'''

SETTING = """\
dataset: {factory: "toy.factories:blobs", args: {n: 60}}
model: {factory: "toy.factories:net", args: {width: 5}}
task: classification
recipe: {optimizer: sgd, lr: 0.2, momentum: 0.0, weight_decay: 0.001, epochs: 10, batch_size: 20}
ensemble: {members: 2, checkpoints: 3}
designs: {subsets: {count: 20, seeds: 2, fraction: 0.5}, loo: {count: 5, seeds: 2}, tune: {count: 20}}
queries: {tune: 4, test: 5}
"""

PARAMS = """\
settings: [toy]
methods: [random, graddot, trak]
metrics: [lds, loo]
compute: {models_per_job: 20, lockstep: 20, memory_mib: 500}
"""


@dataclass
class Checkout:
    """A folder in which `snakemake` runs as it does for a user."""

    root: Path

    def run(
        self, *command: str, check: bool = True, timeout: float = 1200, **options
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout and return its result, with stderr as part of stdout.

        Raises:
            AssertionError: ``check`` is true and the command failed.
        """
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}")
        return done

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `snakemake` with the default profile, in a fork of this process.

        Raises:
            AssertionError: ``check`` is true and the run failed.
        """
        done = forked_snakemake(self.root, self.environment(), *self.command(*arguments)[3:])
        assert not check or not done.returncode, f"{' '.join(done.args)}\n{done.stdout}"
        return done

    def run_step(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `proponent` subcommand; it may fail. One that only reports runs in this process."""
        if arguments[0] in REPORTS:
            return command_line(self.root, self.environment(), *arguments)
        return self.run(
            sys.executable, "-c", "from proponent.cli import main; main()", *arguments, check=False
        )

    def make(self, *targets: str, **config: Any) -> None:
        """Make artefacts and what they are made from in this process, without Snakemake; ``config`` as for ``--config``.

        Raises:
            UserError: a step refuses to run.
        """
        make(self.root, *targets, config=config)

    def make_all(self) -> None:
        """Make everything that `params.yaml` asks for, in this process; `snakemake` then finds nothing to do."""
        self.make("results/toy/check.json", *TARGETS)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return {
            **clean,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
        }

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a run would start, `all` left out."""
        printed = self.snakemake("-n", *arguments).stdout
        table = re.search(r"^job\s+count\n[-\s]+\n(.*?)^total", printed, flags=re.MULTILINE | re.DOTALL)
        rows = [line.split() for line in table[1].splitlines()] if table else []
        return {name: int(count) for name, count in rows if name != "all"}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the checkout; the text must be there."""
        file = self.root / path
        content = file.read_text()
        assert old in content, f"{old!r} is not in {path}"
        file.write_text(content.replace(old, new))

    def bytes_of(self, *patterns: str) -> dict[str, bytes]:
        """Return the bytes of all results that fit the patterns."""
        found = {
            path for pattern in patterns for path in (self.root / "results").glob(pattern) if path.is_file()
        }
        return {str(path.relative_to(self.root)): path.read_bytes() for path in sorted(found)}

    def tensors(self) -> dict[str, bytes]:
        """Return the bytes of every tensor file."""
        return self.bytes_of("**/*.safetensors")

    def metrics(self, method: str) -> dict[str, dict[str, float]]:
        """Return the metrics of a method on the toy setting."""
        return json.loads((self.root / f"results/toy/metrics/{method}.json").read_text())["metrics"]

    def copy(self, to: Path) -> Checkout:
        """Copy everything, Snakemake's own metadata and modification times included."""
        shutil.copytree(self.root, to, symlinks=True)
        return Checkout(to)


def make_checkout(root: Path) -> Checkout:
    """Lay out the checkout; nothing is run."""
    root.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_compiled(), root)
    (root / "toy").mkdir()
    (root / "toy/__init__.py").write_text("")
    (root / "toy/factories.py").write_text(FACTORIES)
    (root / "configs/settings/toy.yaml").write_text(SETTING)
    (root / "params.yaml").write_text(PARAMS)
    return Checkout(root)


@cache
def _compiled() -> Path:
    """Return a copy of the repository's files with the bytecode of its package, which copies of the copy inherit.

    Bytecode names the source by size and modification time, which are copied as well.
    """
    folder = Path(tempfile.mkdtemp(prefix="proponent-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            shutil.copy(source, folder / name)
    assert compileall.compile_dir(folder / "src", quiet=1)
    return folder
