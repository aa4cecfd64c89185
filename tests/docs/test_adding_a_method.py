"""docs/adding-a-method.md, followed step by step: both methods get their rows, and are stale or current like all others."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from docs.guides import REPOSITORY, Done, Reader, blocks_of

pytestmark = pytest.mark.slow

GUIDE = "docs/adding-a-method.md"


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow(GUIDE)


@pytest.fixture
def leaderboard(followed: list[Done], reader: Reader) -> pd.DataFrame:
    """The LDS rows of the guide's last run."""
    table = pd.read_csv(reader.root / "results/leaderboard.csv").query("metric == 'lds'")
    return table.set_index("method")


def test_no_existing_file_is_changed(followed, reader):
    written = [block.file for block in blocks_of(REPOSITORY / GUIDE) if block.file]
    assert len(written) >= 6
    assert [path for path in written if (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("method", ["classgrad", "votes"])
def test_the_method_has_a_row_with_an_interval_and_a_cost(leaderboard, method):
    row = leaderboard.loc[method]
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert 0 < row["attribution_seconds"] <= row["total_seconds"]
    assert row["bytes"] > 0


@pytest.mark.parametrize("method", ["classgrad", "votes"])
def test_the_method_is_better_than_random_scores(leaderboard, method):
    assert leaderboard.loc[method, "ci_low"] > leaderboard.loc["random", "ci_high"]


def test_the_python_method_is_charged_for_its_model_and_the_command_only_for_data(followed, reader):
    ledgers = {
        method: json.loads((reader.root / f"results/digits-lr/metrics/{method}.json").read_text())["cost"][
            "ledger"
        ]
        for method in ("classgrad", "votes")
    }
    assert any("/ensemble/" in path for path in ledgers["classgrad"])
    assert sorted(path.split("/")[2] for path in ledgers["votes"]) == ["data", "scores"]


def test_tuning_lists_every_candidate(followed, reader):
    record = json.loads((reader.root / "results/digits-lr/tuning/classgrad.json").read_text())
    assert len(record["candidates"]) == 4
    best = max(record["candidates"], key=lambda candidate: candidate["lds"])
    assert record["chosen"] == best["params"]


def test_the_scores_follow_the_formula(followed, reader):
    """The scores of a few pairs, computed in a plain loop."""
    results = reader.root / "results/digits-lr"
    train, query = (
        load_file(results / "data/train.safetensors"),
        load_file(results / "data/query.safetensors"),
    )
    scores = load_file(results / "scores/votes.safetensors")["scores"]
    assert scores.shape == (len(query["x"]), len(train["x"]))
    for q, i in ((0, 0), (7, 100), (299, 1496)):
        distance = float(np.sum((query["x"][q].ravel() - train["x"][i].ravel()) ** 2))
        sign = 1 if query["y"][q] == train["y"][i] else -1
        assert scores[q, i] == pytest.approx(sign / (1 + distance), rel=1e-4)


def test_both_methods_are_current_afterwards_without_snakemakes_metadata(followed, reader):
    """A rule with a file of the checkout as an input would run again after every clone."""
    planned = reader.shell(
        "rm -rf .snakemake; touch scripts/votes.py workflow/rules/methods/*.smk;"
        " snakemake -n --config 'settings=[digits-lr]' 'methods=[random,classgrad,votes]'",
        "this test",
    )
    assert "Nothing to be done" in planned


def test_a_changed_script_makes_its_scores_again(followed, reader):
    script = reader.root / "scripts/votes.py"
    before = script.read_text()
    script.write_text(before.replace("1.0 + distance", "2.0 + distance"))
    try:
        planned = reader.shell(
            "snakemake -n --config 'settings=[digits-lr]' 'methods=[random,classgrad,votes]'", "this test"
        )
    finally:
        script.write_text(before)
    rows = [line.split() for line in planned.splitlines()]
    for rule in ("votes", "adopt", "evaluate", "correlate", "summary", "collect"):
        assert [rule, "1"] in rows
    assert ["total", "9"] in rows
