"""Output for people: a progress line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from proponent.formatting import duration
from snakemake_logger_plugin_proponent.run_state import RunState


class Display(Protocol):
    """Shows a run to people."""

    def message(self, text: str, style: str | None = None) -> None:
        """Show a line or a paragraph."""

    def table(self, content: RenderableType) -> None:
        """Show a result."""

    def update(self, state: RunState) -> None:
        """Show how far the run is."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class TerminalDisplay:
    """One progress line at the bottom of the terminal; everything else scrolls above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}"),
        )
        # Redrawn after events only: a thread that redraws would use CPU time of the main process.
        self._progress = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("jobs", total=None, status="")

    def message(self, text: str, style: str | None = None) -> None:
        """Print above the progress line."""
        self._console.print(Text(text, style=style or ""), soft_wrap=True)

    def table(self, content: RenderableType) -> None:
        """Print a table above the progress line."""
        self._console.print(content)

    def update(self, state: RunState) -> None:
        """Redraw the progress line."""
        self._progress.update(
            self._task, total=state.total, completed=state.done, status=status_text(state, time.time())
        )
        if not self._progress.live.is_started:
            self._progress.start()
        self._progress.refresh()

    def close(self) -> None:
        """Remove the progress line and show the cursor again."""
        self._progress.stop()


class PlainDisplay:
    """Lines on stderr, tables on stdout, no progress: for log files and pipes."""

    def message(self, text: str, style: str | None = None) -> None:
        """Print a line on stderr."""
        print(text, file=sys.stderr, flush=True)

    def table(self, content: RenderableType) -> None:
        """Print a table on stdout."""
        console = Console(file=sys.stdout)
        console.print(content)
        console.file.flush()

    def update(self, state: RunState) -> None:
        """Print nothing: a line per job would bury the results."""

    def close(self) -> None:
        """Do nothing."""


def make_display(no_color: bool) -> Display:
    """Return the display that fits stderr, where Snakemake writes."""
    console = Console(stderr=True, no_color=no_color, highlight=False)
    return (
        TerminalDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay()
    )


def status_text(state: RunState, now: float) -> str:
    """Return the part of the progress line that changes: jobs done, running and failed, and the time left."""
    parts = [f"{state.done} of {state.total} done", f"{len(state.running)} running"]
    if state.failed:
        parts.append(f"{len(state.failed)} failed")
    seconds = state.seconds_left(now)
    if seconds is not None and state.done < state.total:
        parts.append(f"about {duration(seconds)} left")
    return ", ".join(parts)
