"""Leaderboard of one setting, as soon as its summary exists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rich.console import RenderableType

_SUMMARY = re.compile(r"results/summaries/(?P<setting>[\w.-]+)\.json")


def settings_in(paths: Iterable[str]) -> list[str]:
    """Return the settings whose summaries are among some paths."""
    return [found["setting"] for path in paths if (found := _SUMMARY.fullmatch(path))]


def render(root: Path, setting: str) -> RenderableType | None:
    """Return the leaderboard of a setting that was summarised; None if no metric of it is shown in tables."""
    from proponent.publish.leaderboard_tables import terminal
    from proponent.steps.io.rankings import read_ranking

    return terminal(read_ranking(root, setting))
