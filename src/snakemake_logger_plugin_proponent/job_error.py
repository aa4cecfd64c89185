"""Text about a failed job: its rule and output, its log files, and the error or the last lines in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proponent.store.job_log import log_tail

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
        with_tails: whether to quote the error, or the last lines, of the logs.
    """
    lines = [f"Error in rule {rule}: {output[0] if output else 'no output'} was not made"]
    lines += [f"    {message}"] if message else []
    for log in logs:
        lines.append(f"    log: {log}")
        lines += [f"        {line}" for line in _tail(Path(log))] if with_tails else []
    return "\n".join(lines)


def _tail(path: Path) -> list[str]:
    try:
        path.stat()
    except OSError as error:
        return [f"(cannot be read: {error.strerror})"]
    return log_tail(path, _TAIL_LINES)
