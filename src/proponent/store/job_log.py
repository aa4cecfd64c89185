"""The last lines of a job's log, as reports quote them."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 16_384
_TRACEBACK = "Traceback (most recent call last):"


def log_tail(path: Path, count: int = 3) -> list[str]:
    """Return the last lines of a log, or only the line that states the error if there is one.

    Such a line begins with ``error: ``, or it is the message below a traceback of Python.

    Args:
        path: the log; nothing is returned if it does not exist.
        count: number of lines. Of a progress bar, which rewrites its line, only the latest state counts.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1:] or _below_traceback(lines) or lines[-count:]


def _below_traceback(lines: list[str]) -> list[str]:
    if _TRACEBACK not in lines:
        return []
    below = lines[len(lines) - lines[::-1].index(_TRACEBACK) :]
    return [line for line in below if not line.startswith((" ", "\t"))][:1]
