"""docs/cleaning.md, followed step by step: flipped labels come first, and the page has its evidence."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from docs.guides import Done, Reader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow("docs/cleaning.md")


@pytest.fixture
def files(followed: list[Done], reader: Reader) -> tuple[Path, Path]:
    folder = reader.root / "results/few-digits-noisy/cleaning"
    (table,), (page,) = folder.glob("*.csv"), folder.glob("*.html")
    return table, page


def test_most_flipped_labels_are_in_the_first_fifth(files):
    table, _ = files
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    flipped = load_file(table.parents[1] / "data/noisy_labels.safetensors")["noisy_labels"]
    assert sorted(int(row["example"]) for row in rows) == list(range(400))
    first = [int(row["example"]) for row in rows[:80]]
    assert flipped[first].sum() >= 0.8 * flipped.sum()
    wrong = [row for row in rows[:20] if flipped[int(row["example"])]]
    assert sum(row["label"] != row["predicted"] for row in wrong) >= 0.8 * len(wrong)


def test_the_page_shows_images_and_evidence_without_other_files(files):
    text = files[1].read_text(encoding="utf-8")
    assert text.count("<article>") == 20
    assert text.count("Opponents: examples that contradict its label") == 20
    assert text.count("data:image/png;base64,") > 100
    assert "http" not in text.replace("http-equiv", "")
