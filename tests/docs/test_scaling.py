"""docs/scaling.md: the table of large problems is the one that this version computes."""

from __future__ import annotations

import pytest

from docs.guides import REPOSITORY, Reader, clone


@pytest.mark.slow
def test_the_table_of_large_problems_is_that_of_this_version(tmp_path):
    (done,) = Reader(clone(tmp_path / "proponent")).follow("docs/scaling.md")
    rows = [line for line in done.printed.splitlines() if line.startswith("| (")]
    page = (REPOSITORY / "docs/scaling.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert set(rows) <= set(page)
