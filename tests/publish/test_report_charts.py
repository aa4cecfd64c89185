"""Charts of the report: the data behind them are those of the ranking, and an SVG needs nothing of the page."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from proponent.publish.ranking import Ranking, without_scores
from proponent.publish.report.overview_chart import settings_chart
from proponent.publish.report.setting_charts import (
    cost_chart,
    loss_chart,
    quality_chart,
    tuning_chart,
)
from publish.conftest import ranked


@pytest.fixture
def ranking(documents) -> Ranking:
    return ranked([document for document in documents if document["setting"] == "mnist-mlp"])[0]


def table(chart) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(chart.csv())))


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)  # noqa: S314 - written here
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_quality_is_that_of_the_ranking_best_first(ranking):
    chart = quality_chart(ranking)
    rows = table(chart)
    assert [row["method"] for row in rows] == [document["method"] for document in ranking.ordered()]
    entries = ranking.entries("lds")
    for row in rows:
        assert float(row["value"]) == pytest.approx(entries[row["method"]]["value"], rel=1e-5)
        assert float(row["ceiling"]) == pytest.approx(0.905)
    assert chart.spec["datasets"]["rows"] == chart.rows


def test_an_svg_has_the_values_as_texts_and_no_variable_of_the_page(ranking):
    svg = quality_chart(ranking).svg()
    assert "var(--" not in svg
    found = texts(svg)
    for method, entry in ranking.entries("lds").items():
        assert method in found
        assert f"{entry['value']:.3f}".replace("-", "−") in found


def test_undominated_methods_are_those_of_a_brute_force_comparison(ranking):
    rows = table(cost_chart(ranking))
    points = {row["method"]: (float(row["total_seconds"]), float(row["value"])) for row in rows}
    for row in rows:
        seconds, value = points[row["method"]]
        beaten = any(s <= seconds and v >= value and (s < seconds or v > value) for s, v in points.values())
        assert (row["undominated"] == "False") == beaten, row["method"]


def test_learning_curves_are_the_mean_and_the_range_of_the_members(trainings):
    rows = [row for row in table(loss_chart(trainings)) if row["loss"]]
    losses = np.array([training["loss"] for training in trainings])
    for name, expected in (("loss", losses.mean(0)), ("lowest", losses.min(0)), ("highest", losses.max(0))):
        np.testing.assert_allclose([float(row[name]) for row in rows], expected, rtol=1e-5)


def test_every_candidate_is_in_the_chart_of_tuning():
    record = {
        "candidates": [
            {"params": {"damping": 0.1}, "lds": 0.3},
            {"params": {"damping": 1.0}, "lds": 0.4},
            {"params": {"damping": 9.0}, "lds": None, "why": "scores are not finite"},
        ],
        "chosen": {"damping": 1.0},
    }
    rows = table(tuning_chart({"trak": record}))
    assert [(row["hyper_parameters"], row["chosen"]) for row in rows] == [
        ("damping: 0.1", "False"),
        ("damping: 1.0", "True"),
        ("damping: 9.0", "False"),
    ]
    assert rows[2]["lds"] == ""


def test_the_best_method_of_each_setting_is_marked():
    rows = [
        {"setting": setting, "method": method, "value": value, "rank": 1, "ceiling": 0.9}
        for setting, method, value in (("a", "trak", 0.5), ("a", "random", 0.0), ("b", "random", 0.1))
    ]
    best = [(row["setting"], row["method"]) for row in table(settings_chart(rows)) if row["best"] == "True"]
    assert best == [("a", "trak"), ("b", "random")]


def test_without_values_there_is_no_chart():
    ranking = Ranking("empty", [without_scores("empty", "trak", failed="killed")], {})
    assert quality_chart(ranking) is None
    assert cost_chart(ranking) is None
    assert loss_chart([{"steps": [1]}]) is None
    assert tuning_chart({}) is None
    assert settings_chart([]) is None
