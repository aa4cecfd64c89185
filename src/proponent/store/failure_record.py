"""Failure records: why a job did not make its artefact, in a file next to the artefact's key file.

A step writes the record of an error that it can report itself. The rule's shell completes it with the log and, for a
process that was killed, writes it (``proponent failed``). A record of another key than the planned one says nothing.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from proponent.errors import UserError
from proponent.store.files import write_json

SUFFIX = ".failed"
Kind = Literal["refused", "failed", "killed"]
"""``refused``: the step says what the user can correct, and refuses again until then. ``failed``: any other error.
``killed``: the process was ended from outside or crashed."""


@dataclass(frozen=True)
class Failure:
    """How the job of an artefact ended."""

    artefact: str
    key: str
    kind: Kind
    reason: str
    """One line."""
    log: str = ""
    """Path of the job's log; empty if unknown."""

    @property
    def text(self) -> str:
        """The kind and the reason; for an error that needs its traceback, also the log."""
        log = f"; log: {self.log}" if self.log and self.kind != "refused" else ""
        return f"{self.kind}: {self.reason}{log}"


def failure_path(key_file: Path) -> Path:
    """Return the path of the record of the artefact with this key file."""
    return key_file.with_name(f"{key_file.name}{SUFFIX}")


def write_failure(key_file: Path, failure: Failure) -> None:
    """Write a record; without effect where the disk refuses, because the error itself is in the log."""
    with contextlib.suppress(UserError):
        write_json(failure_path(key_file), asdict(failure))


def read_failure(key_file: Path, key: str) -> Failure | None:
    """Read the record of an artefact; None if there is none, if it belongs to another key, or if it is malformed."""
    try:
        failure = Failure(**json.loads(failure_path(key_file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return failure if failure.key == key and failure.kind in get_args(Kind) else None


def clear_failure(key_file: Path) -> None:
    """Remove the record of an earlier attempt."""
    with contextlib.suppress(OSError):
        failure_path(key_file).unlink(missing_ok=True)
