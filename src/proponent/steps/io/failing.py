"""Failure of a job: the record of its reason, for the tables and for ``proponent status``."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from proponent.errors import UserError, one_line
from proponent.progress import end_bars
from proponent.steps.io.job import Job
from proponent.store.failure_record import Failure, Kind, clear_failure, read_failure, write_failure
from proponent.store.files import read_json
from proponent.store.job_log import log_tail
from proponent.store.lease import abandoned_by
from proponent.store.manifest import manifest_path
from proponent.store.memory_kills import MemoryKills, count_memory_kills

_LONG = 500
"""Characters after which a reason is cut; the log has all of it."""
_INTERRUPTED = 128 + signal.SIGINT
_SHELL = re.compile(r"\S*sh: line \d+:.*")
"""What the shell says about a process that was killed; it may follow an unfinished line of the process."""
_BAR = "%|"
_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)


@contextlib.contextmanager
def recording_failure(key_file: Path, job: Job[Any, Any]) -> Iterator[None]:
    """Record an error inside the block, after removing the record of an earlier attempt.

    Raises:
        UserError: the code of the user ended the process with ``sys.exit``.
    """
    clear_failure(key_file)
    try:
        try:
            yield
        except SystemExit as left:
            raise UserError(
                f"{job.artefact}: the code called sys.exit({left.code!r}); raise an error instead"
            ) from left
    except Exception as error:
        kind: Kind = "refused" if isinstance(error, UserError) else "failed"
        reason = _shortened(one_line(error))
        _record(key_file, Failure(job.artefact, job.key, kind, reason))
        if kind == "refused" and error.__cause__ is not None:
            end_bars()
            traceback.print_exception(error.__cause__)  # for the log: the cause of a refusal may be a bug
        raise


def complete_record(key_file: Path, code: int, log: str) -> None:
    """Add the log to the record of a failed step, or write the record of one that could not, and say so in the log.

    Args:
        key_file: key file of the artefact.
        code: exit code of the step as a shell reports it: above 128, the number of a signal is added to it.
        log: path of the job's log.
    """
    if code == _INTERRUPTED:
        return
    content = read_json(key_file)
    artefact, key = content["artefact"], content["key"]
    record = read_failure(key_file, key)
    if record is None:
        kind, reason = _how_it_ended(Path(artefact), code, log)
        print(f"\nerror: {reason}", file=sys.stderr)  # the process may have left a line unfinished
        record = Failure(artefact, key, kind, reason)
    _record(key_file, replace(record, log=log))


def _record(key_file: Path, failure: Failure) -> None:
    """Write a record, and remove the manifest of an earlier version whose files Snakemake removed before the job began."""
    write_failure(key_file, failure)
    artefact = Path(failure.artefact)
    if not artefact.exists():
        with contextlib.suppress(OSError):
            manifest_path(artefact).unlink(missing_ok=True)


def _how_it_ended(artefact: Path, code: int, log: str) -> tuple[Kind, str]:
    last = _SHELL.sub("", " ".join(log_tail(Path(log), 1)))
    said = f"; its last line: {_shortened(last)}" if last and _BAR not in last else ""
    if code <= 128:
        return "failed", f"ended with exit code {code} and without a reason{said}"
    name = signal.Signals(code - 128).name if code - 128 in set(signal.Signals) else f"signal {code - 128}"
    if code - 128 == signal.SIGKILL:
        holder = abandoned_by(artefact)
        earlier = MemoryKills(*holder.memory_kills) if holder else count_memory_kills()
        return "killed", f"{name}, {count_memory_kills().evidence(earlier)}"
    if code - 128 in _FROM_OUTSIDE:
        return "killed", f"{name}, by hand or by the limits of a batch system"
    return "killed", f"{name}, a crash{said}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 2]} …"
