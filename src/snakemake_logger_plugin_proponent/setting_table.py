"""Leaderboard of one setting, as soon as its summary exists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType

_SUMMARY = re.compile(r"results/summaries/(?P<setting>[\w.-]+)\.json")


def settings_in(paths: Iterable[str]) -> list[str]:
    """Return the settings whose summaries are among some paths."""
    return [found["setting"] for path in paths if (found := _SUMMARY.fullmatch(path))]


def render(root: Path, setting: str) -> RenderableType:
    """Return the table of a setting's leaderboard.

    The imports take a second, so they wait until the first table is shown.
    """
    from proponent.metrics.compare import compare_all
    from proponent.publish import leaderboard
    from proponent.store.files import read_json

    key = read_json(root / f"results/keys/summaries/{setting}.json.json")
    documents = [read_json(root / path) for path in key["input_keys"]]
    _, ranks = compare_all(documents)
    return Group(*leaderboard.terminal(documents, ranks))
