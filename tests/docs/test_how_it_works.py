"""docs/how-it-works.md: its commands print the lines that it shows, and its lists of files and columns are right."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from docs.guides import REPOSITORY, Done, Reader
from proponent.publish.leaderboard import COLUMNS
from proponent.store.manifest import manifest_path

GUIDE = "docs/how-it-works.md"
TEXT = (REPOSITORY / GUIDE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow(GUIDE)


@pytest.mark.slow
def test_commands_print_the_shown_lines_and_leave_sources_unchanged(followed, reader):
    assert len(followed) >= 8
    module = "src/proponent/methods/gradient_similarity/graddot.py"
    assert (reader.root / module).read_bytes() == (REPOSITORY / module).read_bytes()


@pytest.mark.slow
def test_every_listed_kind_of_file_exists_with_its_manifest(followed, reader):
    results = reader.root / "results"
    table = TEXT.partition("## Files")[2]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 15
    for name in named:
        if name.startswith(("S/data/noisy_labels", "S/data/planted", "S/data/token_names")):
            continue  # digits-lr has clean labels, nothing planted and no tokens
        if name.startswith(("S/scores/members", "S/scores/shuffled")):
            continue  # of metrics that are not in this run
        if name.startswith("S/data/train-"):
            continue  # and takes far less than 4 GiB: tests/steps/test_sharded_data.py makes them
        pattern = re.sub(r"^S/", "digits-lr/", name).replace("…", "*").replace("000123", "*")
        pattern = pattern.replace("/S.", "/digits-lr.").replace("M.", "graddot.").replace("/D", "/subsets")
        found = [path for path in results.glob(f"**/{pattern}") if not path.name.endswith(".manifest.json")]
        if name.endswith("-…"):
            continue  # no method of this run needs them
        assert found, name
        assert all(manifest_path(path).exists() for path in found), name


@pytest.mark.slow
def test_the_shown_cost_equals_that_of_the_leaderboard(followed, reader):
    table = pd.read_csv(reader.root / "results/leaderboard.csv").set_index("method")
    printed = next(done.printed for done in followed if "total_seconds" in done.printed)
    total = float(re.search(r"total_seconds ([\d.]+)", printed)[1])
    assert table.loc["graddot", "total_seconds"].iloc[0] == pytest.approx(total, rel=1e-4)


def test_the_page_lists_the_columns_of_the_leaderboard():
    assert f"`{','.join(COLUMNS)}`" in TEXT
