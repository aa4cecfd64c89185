"""Commands and steps in the process of the tests, or in a fork of it, without the seconds that a process takes to start.

The package that runs is that of the repository; that of the checkout is only read as text. Tests that change how the
package of their checkout works use processes that import it (:meth:`workflow.checkout.Checkout.run`).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

from proponent.cli import main
from proponent.config.benchmark import load_benchmark
from proponent.config.flags import Flags
from proponent.inspection.closure import closure
from proponent.plan import controller
from proponent.plan.artefact_paths import key_path
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan
from proponent.steps.io.job import Job
from proponent.store.files import write_json
from proponent.store.lease import leased
from proponent.store.manifest import is_current

REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def inside(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Work in a checkout as a process that was started there.

    Afterwards the current directory, ``sys.path`` and the environment are as before, the modules of the checkout are no
    longer imported, and the locks that were taken are released.
    """
    environ, path, held = dict(os.environ), list(sys.path), list(controller._held)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        os.environ.update(environment or {})
        with contextlib.chdir(root):
            yield
    finally:
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:] = path
        for lock in controller._held[len(held) :]:
            lock.release()
        controller._held[:] = held
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(root):
                del sys.modules[name]


def command_line(
    root: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a subcommand of ``proponent`` in a checkout; stderr is part of stdout."""
    printed = io.StringIO()
    code: Any = 0
    argv = sys.argv
    sys.argv = ["proponent", *arguments]
    try:
        with (
            inside(root, environment),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            main()
    except SystemExit as left:
        code = left.code or 0
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(sys.argv, code, printed.getvalue())


def forked_snakemake(
    root: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake's command line in a fork of this process, which has imported it; stderr is part of stdout.

    Its imports and the reading of the package's source take most of the time of a dry run.
    """
    _prepare_to_fork()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        child = os.fork()
        if not child:
            _run_snakemake(root, environment, arguments, printed)
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        return subprocess.CompletedProcess(
            ["snakemake", *arguments], os.waitstatus_to_exitcode(status), printed.read()
        )


@cache
def _prepare_to_fork() -> None:
    """Import what runs of Snakemake import, and digest the package: forks of this process share all of it."""
    for module in ("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "smart_open"):
        importlib.import_module(module)
    importlib.import_module("proponent.inspection.failed_run")
    with contextlib.chdir(REPOSITORY):
        Plan(load_benchmark(REPOSITORY, {"settings": ["digits-lr"], "methods": ["random", "trak"]}))


def _run_snakemake(
    root: Path, environment: Mapping[str, str], arguments: Sequence[str], printed: IO[str]
) -> NoReturn:
    """End this process, a fork, as ``python -m snakemake`` ends."""
    import snakemake.cli

    code: Any = 1
    try:
        signal.alarm(600)
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until it ends
        os.environ.clear()
        os.environ.update(environment)
        os.environ["PWD"] = str(root)
        os.chdir(root)
        importlib.invalidate_caches()
        own = (REPOSITORY, REPOSITORY / "src", REPOSITORY / "tests")
        installed = [entry for entry in sys.path if Path(entry) not in own]
        sys.path[:] = [str(root), *environment["PYTHONPATH"].split(os.pathsep), *installed]
        sys.argv = ["snakemake", *arguments]
        snakemake.cli.main(list(arguments))
        code = 0
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def refusal(root: Path, *config: str) -> str:
    """Start a run as the Snakefile does, with ``--config`` entries, and return what is printed when it is refused.

    Raises:
        AssertionError: it is not refused.
    """
    printed = io.StringIO()
    try:
        with inside(root), contextlib.redirect_stderr(printed):
            controller.start(root, Flags(entries=config), is_controller=True, is_dry_run=False)
    except SystemExit as left:
        assert left.code == 1
        return printed.getvalue()
    raise AssertionError(f"{config} is not refused")


def make(root: Path, *targets: str, config: Mapping[str, Any] | None = None) -> None:
    """Make artefacts and everything that they are made from, with the steps of a plan and without Snakemake.

    Args:
        root: the checkout.
        targets: paths of artefacts; the order of steps is that of the plan, without the check of the setting.
        config: values over those of ``params.yaml``, as given by ``--config``.

    Raises:
        UserError: the configuration is refused, or a step refuses to run.
    """
    with inside(root):
        nodes = Plan(load_benchmark(root, dict(config or {}))).graph.nodes
        asked = closure(targets, lambda path: nodes[path].inputs)
        for path in sorted(asked, key=list(nodes).index):
            if not is_current(root, path, nodes[path].key):
                make_artefact(root, nodes[path])


def make_artefact(root: Path, node: Node, *, again: bool = False) -> None:
    """Make one artefact in this process, from those that are made already; with ``again`` also if it is there."""
    key_file = root / key_path(node.path)
    write_json(key_file, node.key_content())
    job = Job.load(key_file, node.step)
    with leased(root / node.path, (lambda: False) if again else job.is_done) as lease:
        assert lease is not None, f"{node.path} is made twice"
        importlib.import_module(f"proponent.steps.{node.step}").run(job)
        job.finish(lease)
