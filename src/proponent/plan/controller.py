"""The start of a run: read the configuration, build the plan, lock the checkout, and settle modification times."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from proponent.config.benchmark import load_benchmark
from proponent.config.flags import Flags
from proponent.errors import UserError
from proponent.file_locks import acquire, is_held, lacks_locks
from proponent.plan.orphans import clear_incomplete_marks, wait_for_orphans
from proponent.plan.run_plan import Plan
from proponent.plan.settle import settle
from proponent.plan.unseen_code import unseen_code
from proponent.seeds import HASH_SEED

_PATIENCE_SECONDS = 10.0
"""Wait of a run for another process that is about to end."""
_GLANCE_SECONDS = 0.3
"""Wait of a process that only looks: two of them may test the lock at the same instant."""
_WRITABLE = "results/ must be writable; in a folder of several users: umask 002, and chmod -R g+w by the owners of files"
_held: list[FileLock] = []
"""Keeps locks alive until the process ends."""


def start(root: Path, flags: Flags, is_controller: bool, is_dry_run: bool) -> Plan:
    """Return the plan for this checkout; the controller also settles it.

    Exits with status 1 and one line on stderr after an error that the user can fix.

    Args:
        root: the checkout.
        flags: configuration given by ``--config`` and ``--configfile``.
        is_controller: False inside a job, which must not touch anything except its own artefact.
        is_dry_run: whether this is a dry run, which does not settle while another run holds the checkout.
    """
    _equip_jobs(root)
    try:
        plan = Plan(load_benchmark(root, flags.values()), in_job=not is_controller)
        if is_controller:
            for reason in plan.left_out:
                print(f"left out: {reason}", file=sys.stderr)
            for line in plan.without_metrics:
                print(f"no value: {line}", file=sys.stderr)
            for line in unseen_code(plan.benchmark):
                print(f"not seen: {line}", file=sys.stderr)
            if hold_checkout(root, wait=not is_dry_run):
                if not is_dry_run:
                    wait_for_orphans(root)
                plan.current = settle(plan.graph)
                clear_incomplete_marks(root, plan.current)
                plan.graph.remember_digests()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; {_WRITABLE}", file=sys.stderr)
        raise SystemExit(1) from None
    return plan


def _equip_jobs(root: Path) -> None:
    """Let jobs find the ``proponent`` next to the running snakemake, activated or not, and this checkout's sources."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # Behind these, the user's own entries: a factory that the plan found there must be importable in a job as well.
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(root / "src"), str(root), *own]))
    os.environ["PYTHONHASHSEED"] = HASH_SEED


def hold_checkout(root: Path, wait: bool = True) -> bool:
    """Lock ``results/.running`` until this process ends; the kernel releases the lock even after kill -9.

    The holder is the only live controller of this checkout, so locks of an earlier Snakemake that was killed are removed.

    Returns:
        Whether the lock is held now. False only if another process holds it and ``wait`` is False.

    Raises:
        UserError: another process still holds the lock after ten seconds.
    """
    path = _lock_path(root)
    path.parent.mkdir(exist_ok=True)
    try:
        lock = acquire(path, _PATIENCE_SECONDS if wait else _GLANCE_SECONDS)
    except Timeout:
        if not wait:
            return False
        raise UserError(
            f"{_owner(path)} is already running in this checkout; wait for it or stop it first"
        ) from None
    path.write_text(f"process {os.getpid()}", encoding="utf-8")
    if lock is None:
        print(lacks_locks(path.parent), file=sys.stderr)
        return True  # and Snakemake's own locks stay, because this need not be the only run
    _held.append(lock)
    shutil.rmtree(root / ".snakemake" / "locks", ignore_errors=True)
    return True


def controller_process(root: Path) -> str | None:
    """Return the process that holds this checkout, such as ``process 123``; None if there is none. Changes no file."""
    path = _lock_path(root)
    return _owner(path) if is_held(path) else None


def _lock_path(root: Path) -> Path:
    return root / "results" / ".running"


def _owner(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() or "another process"
