"""docs/adding-a-metric.md, followed step by step: both metrics get their rows, with intervals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from docs.guides import REPOSITORY, Done, Reader, blocks_of

pytestmark = pytest.mark.slow

GUIDE = "docs/adding-a-metric.md"


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow(GUIDE)


def test_no_existing_file_is_changed(followed):
    written = [block.file for block in blocks_of(REPOSITORY / GUIDE) if block.file]
    assert len(written) == 4
    assert [path for path in written if (REPOSITORY / path).exists()] == []


def test_the_metric_of_the_last_run_has_rows_with_intervals(followed, reader):
    table = pd.read_csv(reader.root / "results/leaderboard.csv")
    rows = table.query("metric == 'same_class_positive'").set_index("method")
    assert sorted(rows.index) == ["graddot", "random"]
    assert (rows["ci_low"] <= rows["value"]).all() and (rows["value"] <= rows["ci_high"]).all()
    assert rows.loc["graddot", "value"] > rows.loc["random", "ci_high"]


def test_the_value_is_that_of_the_formula(followed, reader):
    """The files of the last run have the second metric; its formula in a plain loop."""
    results = reader.root / "results/digits-lr"
    found = json.loads((results / "metrics/graddot.json").read_text())["metrics"]["same_class_positive"]
    y, queries = (load_file(results / f"data/{name}.safetensors")["y"] for name in ("train", "query"))
    scores, first = load_file(results / "scores/graddot.safetensors")["scores"], len(queries) // 2
    each = [(scores[q][y == queries[q]] > 0).mean() for q in range(first, len(queries))]
    assert found["value"] == pytest.approx(np.mean(each))


def test_every_need_of_the_table_is_one_that_metrics_have(followed):
    text = (REPOSITORY / GUIDE).read_text(encoding="utf-8")
    for path in (REPOSITORY / "src/proponent/metrics").glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith("NEEDS") and "all methods" not in line:
                for need in filter(None, line.split('"')[1::2]):
                    assert f"`{need}`" in text or need.startswith("ground_truth/"), need
