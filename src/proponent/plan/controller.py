"""The start of a run: read the configuration, make the plan, keep a second run out, settle."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.plan.orphans import forget_interruptions, take_in
from proponent.plan.run_plan import Plan
from proponent.plan.settle import settle

_PATIENCE_SECONDS = 10
_held: list[IO[str]] = []


def start(root: Path, overrides: Mapping[str, Any], is_controller: bool, is_dry_run: bool) -> Plan:
    """Return the plan for this checkout; the controller also settles it.

    Args:
        root: the checkout.
        overrides: what ``--config`` gave.
        is_controller: False inside a job, which must not touch anything but its own artefact.
        is_dry_run: a dry run beside a live run looks on without settling.

    Exits with 1 and one line on stderr where the user has to mend something.
    """
    _equip_jobs(root)
    try:
        plan = Plan(load_benchmark(root, overrides), in_job=not is_controller)
        if is_controller:
            for reason in plan.left_out:
                print(f"left out: {reason}", file=sys.stderr)
            if hold_checkout(root, wait=not is_dry_run):
                if not is_dry_run:
                    take_in(root)
                forget_interruptions(root, settle(plan.graph))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; results/ must be writable", file=sys.stderr)
        raise SystemExit(1) from None
    return plan


def _equip_jobs(root: Path) -> None:
    """Let jobs run the ``proponent`` beside the running snakemake, activated or not, with this checkout's sources."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # Behind these, the user's own entries: a factory that the plan found there must be importable in a job as well.
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(root / "src"), str(root), *own]))


def hold_checkout(root: Path, wait: bool = True) -> bool:
    """Hold ``results/.running`` while this process lives (the kernel lets go of it even after kill -9).

    Who holds it is the only live controller of this checkout, so locks that an earlier Snakemake left behind when it was
    killed are void, and removed.

    Returns:
        Whether it is held now; False only where another process has it and ``wait`` is False.

    Raises:
        UserError: another process keeps it.
    """
    path = root / "results" / ".running"
    path.parent.mkdir(exist_ok=True)
    handle = path.open("a+")
    deadline = time.monotonic() + (_PATIENCE_SECONDS if wait else 0)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                handle.seek(0)
                owner = handle.read().strip() or "another process"
                handle.close()
                if not wait:
                    return False
                raise UserError(
                    f"{owner} is already running in this checkout; wait for it or stop it first"
                ) from None
            time.sleep(0.2)
    handle.truncate(0)
    handle.write(f"process {os.getpid()}")
    handle.flush()
    _held.append(handle)
    shutil.rmtree(root / ".snakemake" / "locks", ignore_errors=True)
    return True
