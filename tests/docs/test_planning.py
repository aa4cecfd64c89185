"""docs/planning.md, typed in a clone where nothing has been run."""

from __future__ import annotations

import pytest

from docs.guides import Reader, clone


@pytest.mark.slow
def test_commands_print_what_is_shown(tmp_path):
    assert len(Reader(clone(tmp_path / "proponent")).follow("docs/planning.md")) == 3
