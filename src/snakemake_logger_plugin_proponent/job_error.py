"""Text about a failed job: its rule and output, its log files and their last lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_TAIL_BYTES = 16_384
_TAIL_LINES = 20


def error_text(
    rule: str, output: Sequence[str], logs: Sequence[str], message: str | None, with_tails: bool
) -> str:
    """Describe a failed job.

    Args:
        rule: name of the rule.
        output: paths of its outputs.
        logs: paths of its log files.
        message: reason given by the executor, if any.
        with_tails: whether to quote the last lines of the logs.
    """
    lines = [f"Error in rule {rule}: {output[0] if output else 'no output'} was not made"]
    lines += [f"    {message}"] if message else []
    for log in logs:
        lines.append(f"    log: {log}")
        lines += [f"        {line}" for line in _tail(Path(log))] if with_tails else []
    return "\n".join(lines)


def _tail(path: Path) -> Iterator[str]:
    """Yield the last lines of a log; of a progress bar, its latest state."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        yield f"(cannot be read: {error.strerror})"
        return
    lines = [line.rpartition("\r")[2].rstrip() for line in re.split(r"\r?\n", text)]
    yield from [line for line in lines if line][-_TAIL_LINES:]
