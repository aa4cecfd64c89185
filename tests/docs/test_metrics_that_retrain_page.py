"""docs/metrics-that-retrain.md, followed in the checkout of the guides."""

from __future__ import annotations

import pytest

from docs.guides import Reader

pytestmark = pytest.mark.slow


def test_commands_print_the_shown_lines(reader: Reader) -> None:
    assert len(reader.follow("docs/metrics-that-retrain.md")) == 4
