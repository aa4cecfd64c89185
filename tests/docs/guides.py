"""Follow a guide like a user: write the files that it shows, type its commands, and check what they print.

In a guide, fenced blocks mean:

- ```` ```yaml file=PATH ```` (any language): the file at PATH in the checkout;
- ```` ```bash ````: commands, typed in the checkout with the environment activated;
- ```` ```text ```` right after a bash block: lines that the commands print, in this order, possibly with other lines
  between them; ``…`` stands for text that differs from run to run.

Other blocks are illustrations for the reader and are ignored.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a guide."""

    where: str
    """Guide and line."""
    language: str
    file: str | None
    text: str


@dataclass(frozen=True)
class Done:
    """A bash block that was run, and its output (including stderr)."""

    block: Block
    printed: str


def blocks_of(guide: Path) -> list[Block]:
    """Return the fenced blocks of a Markdown file, in order."""
    content = guide.read_text(encoding="utf-8")
    return [
        Block(
            f"{guide.name}:{content.count(chr(10), 0, found.start()) + 1}",
            found["language"],
            found["file"],
            found["text"],
        )
        for found in _BLOCK.finditer(content)
    ]


@dataclass
class Reader:
    """Somebody with a clone of the repository and an activated environment."""

    root: Path

    def follow(self, guide: str, environment: Mapping[str, Mapping[str, str]] | None = None) -> list[Done]:
        """Follow a guide from its first block to its last.

        Args:
            guide: path of the guide in the repository.
            environment: environment variables for single commands of the guide, by the line of the command.

        Returns:
            The bash blocks that were run, with their output.

        Raises:
            AssertionError: a command failed or did not print the lines that the guide shows, or ``environment`` names
                a command that is not in the guide.
        """
        given = dict(environment or {})
        done: list[Done] = []
        for block in blocks_of(REPOSITORY / guide):
            if block.file is not None:
                path = self.root / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.language == "bash":
                done.append(Done(block, self._type(block, given)))
            elif block.language == "text":
                check_printed(done[-1].printed, block)
        assert not given, f"{guide} has no command {', '.join(given)}"
        return done

    def _type(self, block: Block, given: dict[str, Mapping[str, str]]) -> str:
        """Run a block line by line if variables are given for one of its lines, otherwise in one shell."""
        lines = block.text.splitlines()
        if not given.keys() & set(lines):
            return self.shell(block.text, block.where)
        return "".join(self.shell(line, block.where, given.pop(line, None)) for line in lines)

    def shell(self, commands: str, where: str, variables: Mapping[str, str] | None = None) -> str:
        """Run commands up to the first failure, and return their output.

        Raises:
            AssertionError: a command failed.
        """
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            cwd=self.root,
            env={**self.environment(), **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{where} failed:\n{commands}\n{done.stdout}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a shell after ``. .venv/bin/activate`` in this checkout.

        In the environment, ``proponent`` is installed from the repository and not from the copy; ``PYTHONPATH`` puts the
        copy first.
        """
        own = {
            name: value
            for name, value in os.environ.items()
            if name not in ("OMP_NUM_THREADS", "ARGS", "MAKEFLAGS", "PYTHONDONTWRITEBYTECODE")
        }
        binaries = Path(sys.executable).parent
        return {**own, "PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(self.root / "src")}


def check_printed(printed: str, expected: Block) -> None:
    """Check that the lines of a text block of a guide were printed, in order."""
    rest = iter(printed.splitlines())
    for line in filter(str.strip, expected.text.splitlines()):
        pattern = ".*".join(map(re.escape, " ".join(line.split()).split("…")))
        found = any(re.fullmatch(pattern, " ".join(actual.split())) for actual in rest)
        assert found, f"{expected.where}: {line!r} was not printed (after the lines above it):\n{printed}"


def clone(to: Path) -> Path:
    """Copy the files that git would copy: everything except ``.git`` and the patterns in .gitignore."""
    ignored = [line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().split()]
    return shutil.copytree(REPOSITORY, to, ignore=shutil.ignore_patterns(".git", *ignored), symlinks=True)


def configured_methods() -> dict[str, str]:
    """Return the family of each method with a YAML file, by the name of the method."""
    files = (REPOSITORY / "configs/methods").glob("*.yaml")
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["family"] for path in files}


def without_averages(names: Iterable[str]) -> list[str]:
    """Return the names that need a YAML file: all except ``NAME-10`` where ``NAME`` has a file and ``NAME-10`` has none."""
    files = set(configured_methods())
    implied = {name for name in names if name not in files and re.sub(r"-\d+$", "", name) in files}
    return [name for name in names if name not in implied]


def method_module(family: str) -> Path:
    """Return the path, in the repository, of the module of a family, in whichever folder of ``methods/`` it is."""
    (module,) = (REPOSITORY / "src/proponent/methods").glob(f"*/{family}.py")
    return module.relative_to(REPOSITORY)
