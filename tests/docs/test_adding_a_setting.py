"""docs/adding-a-setting.md, followed step by step, with data and a model that are not in the repository."""

from __future__ import annotations

import dataclasses
import json
import re

import pandas as pd
import pytest
from safetensors.numpy import load_file

from docs.guides import REPOSITORY, Done, Reader
from proponent.config.recipe_schema import RecipeConfig, StageConfig
from proponent.config.setting_schema import SettingConfig

GUIDE = "docs/adding-a-setting.md"
METHODS = ["random", "same-label", "graddot", "if-exact", "trak"]


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow(GUIDE)


@pytest.fixture
def leaderboard(followed: list[Done], reader: Reader) -> pd.DataFrame:
    return pd.read_csv(reader.root / "results/leaderboard.csv")


@pytest.mark.slow
def test_every_method_has_an_lds_with_interval_ceiling_and_cost(leaderboard):
    assert set(leaderboard["setting"]) == {"wine"}
    table = leaderboard[leaderboard["metric"] == "lds"].set_index("method")
    assert sorted(table.index) == sorted(METHODS)
    assert table[["value", "ci_low", "ci_high", "ceiling", "total_seconds"]].notna().all().all()


@pytest.mark.slow
def test_the_leaderboard_separates_good_methods_from_random_scores(leaderboard):
    """The interval of `random` contains 0, and another method is clearly better."""
    table = leaderboard[leaderboard["metric"] == "lds"].set_index("method")
    assert table.loc["random", "ci_low"] < 0 < table.loc["random", "ci_high"]
    assert table.loc[["trak", "if-exact"], "ci_low"].max() > table.loc["random", "ci_high"]


@pytest.mark.slow
def test_the_ground_truth_has_the_numbers_of_the_yaml_file(followed, reader):
    truth = load_file(reader.root / "results/wine/ground_truth/subsets.safetensors")
    assert truth["targets"].shape == (40, 2, 60)
    assert (truth["masks"].sum(1) == 59).all()


@pytest.mark.slow
def test_trained_models_have_scores_and_no_lds(followed, reader):
    """Their leaderboard states why; the other setting's results stay."""
    summary = json.loads((reader.root / "results/summaries/wine-given.json").read_text())
    ranking = json.loads((reader.root / "results/wine-given/leaderboard/ranking.json").read_text())
    assert sorted(summary) == ["graddot-3", "tracin"]
    assert all(
        set(values) == {"cardinality_10", "same_class_10", "sparsity_90"} for values in summary.values()
    )
    assert all("needs retrainings" in document["missing"]["lds"] for document in ranking["documents"])
    assert len(load_file(reader.root / "results/wine-given/scores/tracin.safetensors")["scores"]) == 60


@pytest.mark.slow
def test_the_figures_exist(followed, reader):
    for name in ("lds-wine.svg", "proponents-wine.svg"):
        assert (reader.root / "results/figures" / name).stat().st_size > 0
    assert "class_0" in (reader.root / "results/wine/data/description.json").read_text()


def test_the_table_lists_every_key_of_a_setting_and_a_recipe():
    text = (REPOSITORY / GUIDE).read_text(encoding="utf-8").partition("## The keys")[2]
    listed = set(re.findall(r"`(\w+)`", text))
    for schema in (SettingConfig, RecipeConfig, StageConfig):
        assert {field.name for field in dataclasses.fields(schema)} <= listed
