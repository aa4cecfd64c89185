"""Answers, rows and coverage of the report's sections: what they say about ties, costs and methods without scores."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from proponent.publish.ranking import Ranking, shown_rank, without_scores
from proponent.publish.report.answers import answer
from proponent.publish.report.page import gaps
from proponent.publish.report.section import Section, coverage, leaderboard_rows, metric_names
from proponent.steps.summary import rank

SETTING = "mnist-mlp"
KINDS = {"if-exact": "influence", "random": "baselines"}


@pytest.fixture
def own(documents) -> list[dict]:
    return [document for document in documents if document["setting"] == SETTING]


def answers(documents) -> list[str]:
    comparisons, ranking = rank(SETTING, documents)
    return [f"{entry.answer} | {entry.detail}" for entry in answer(ranking, comparisons)]


def test_the_best_method_is_named_with_its_interval_and_the_ceiling(own):
    best, certainty, cost = answers(own)
    assert best.startswith("if-exact | LDS 0.")
    assert "% of the ceiling 0.905" in best
    assert certainty.startswith("ahead of all others | It is 0.")
    assert "Holm" in certainty
    assert "100 subsets × 2 seeds, 250 test queries" in certainty
    assert cost.startswith("106 s | From raw data to scores; 36 s for the attribution itself")


def test_methods_that_the_data_cannot_distinguish_are_named(own):
    twin = {**next(document for document in own if document["method"] == "if-exact"), "method": "twin"}
    certainty = answers([*own, twin])[1]
    assert certainty.startswith("shared with 1 other | The data cannot distinguish it from twin.")


def test_a_cheaper_method_is_the_best_of_those_with_half_the_time(own):
    costs = {document["method"]: document["cost"]["total_seconds"] for document in own}
    values = {document["method"]: document["metrics"]["lds"]["value"] for document in own}
    cheap = [method for method, seconds in costs.items() if seconds <= costs["if-exact"] / 2]
    assert f"{max(cheap, key=values.__getitem__)} reaches" in answers(own)[2]


def test_one_method_alone_is_compared_with_nothing(own):
    assert answers(own[:1])[1].startswith("no comparison | It is the only method with a value.")


def test_a_setting_without_values_says_so():
    ranking = Ranking(SETTING, [without_scores(SETTING, "trak", failed="killed: memory")], {})
    assert {entry.answer for entry in answer(ranking, [])} == {"not known"}


def test_rows_have_values_ranks_kinds_and_costs(own):
    _, ranking = rank(SETTING, own)
    rows = leaderboard_rows(ranking, KINDS)
    assert len(rows) == sum(len(document["metrics"]) for document in own)
    first = rows[0]
    assert (first["method"], first["kind"], first["metric"], first["rank"]) == (
        "if-exact",
        "influence",
        "lds",
        1,
    )
    assert first["value"] == pytest.approx(own[0]["metrics"]["lds"]["value"], rel=1e-4)
    assert first["total_seconds"] == own[0]["cost"]["total_seconds"]
    assert list(metric_names(ranking).items()) == [("lds", "LDS"), ("loo", "LOO")]


def test_shared_ranks_have_a_sign():
    ranks = {"a": 1, "b": 1, "c": 3}
    assert [shown_rank(ranks, method) for method in ("a", "b", "c", "d")] == ["1=", "1=", "3", "–"]


def test_every_gap_has_its_reason_once(own):
    sections = []
    for setting in ("one", "two"):
        documents = [{**document, "setting": setting} for document in own[:2]]
        documents[0] = {**documents[0], "notes": ["scores are sketched"]}
        documents.append(without_scores(setting, "bm25", left_out="needs 'inputs: tokens'"))
        documents.append(without_scores(setting, "trak", failed="killed: memory"))
        ranking = rank(setting, documents)[1]
        sections.append(
            Section(setting, coverage=coverage(ranking, KINDS), missing={"loo": "needs retrainings"})
        )
    states = {entry["method"]: entry["state"] for entry in sections[0].coverage}
    assert states == {"if-exact": "ran", "trak-10": "ran", "bm25": "left out", "trak": "failed"}
    assert [asdict(gap) for gap in gaps(sections)] == [
        {"state": state, "text": text, "of": {"one": [method], "two": [method]}}
        for state, text, method in (
            ("failed", "killed: memory", "trak"),
            ("left out", "needs 'inputs: tokens'", "bm25"),
            ("not possible", "needs retrainings", "loo"),
            ("note", "scores are sketched", "if-exact"),
        )
    ]
