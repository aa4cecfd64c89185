"""Bars of progress in a log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tqdm import tqdm

from proponent import progress as progress_module
from proponent.progress import progress


class WithoutDelay(tqdm):  # type: ignore[type-arg]
    """A bar that is drawn at every step."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "mininterval": 0.0, "delay": 0.0})


def test_a_bar_within_another_is_plain_text_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "tqdm", WithoutDelay)
    for _ in progress(range(2), "outer"):
        for _ in progress(range(3), "inner"):
            pass
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    finished = [line.split(":")[0] for line in re.split("[\r\n]+", printed) if "100%" in line]
    assert finished.count("inner") >= 2
    assert finished[-1] == "outer"
