"""docs/planning.md, followed in a clone in which nothing has been run."""

from __future__ import annotations

import pytest

from docs.guides import Reader, clone


@pytest.mark.slow
def test_commands_print_the_shown_lines(tmp_path):
    assert len(Reader(clone(tmp_path / "proponent")).follow("docs/planning.md")) == 3
