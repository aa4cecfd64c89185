"""The agreement of metrics over methods: against SciPy, on invented results, and the section of docs/findings.md."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import yaml
from scipy.stats import spearmanr

from docs.guides import REPOSITORY

_spec = importlib.util.spec_from_file_location(
    "metric_agreement", REPOSITORY / "benchmarks/metric_agreement.py"
)
metric_agreement = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(metric_agreement)

METHODS = ["random", *(f"kind{number // 2}-{number}" for number in range(12))]
FILES = {
    "lds": {"meaning": {"lds": "Good."}},
    "same-class": {"meaning": {"same_class_10": "Good."}},
    "counterfactual": {"meaning": {"counterfactual_drop": "Good."}, "design": {"kind": "removal"}},
    "coreset": {"meaning": {"coreset_keep_best": "Good."}, "design": {"kind": "coreset"}},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two settings in which the drop follows the LDS, the class follows nothing and the coreset is the opposite."""
    root = tmp_path_factory.mktemp("agreement")
    (root / "configs/metrics").mkdir(parents=True)
    for name, content in FILES.items():
        (root / f"configs/metrics/{name}.yaml").write_text(yaml.safe_dump(content))
    for setting in ("first", "second"):
        rng = np.random.default_rng(len(setting))
        quality = dict(zip(METHODS, rng.permutation(len(METHODS)) / 10, strict=True))
        folder = root / f"results/{setting}/metrics"
        folder.mkdir(parents=True)
        for method in METHODS:
            values = {
                "lds": quality[method],
                "counterfactual_drop": 10 * quality[method] + rng.normal(0, 1),
                "same_class_10": rng.random(),
                "coreset_keep_best": -quality[method],
                "mislabel_ap": 0.5,
            }
            metrics = {
                name: {"value": value, "replicates": (value + rng.normal(0, 0.05, 100)).tolist()}
                for name, value in values.items()
                if not (setting == "second" and name == "coreset_keep_best")
            }
            (folder / f"{method}.json").write_text(json.dumps({"method": method, "metrics": metrics}))
            (folder / f"{method}.json.manifest.json").write_text("{}")
        (folder / "left-out.json").write_text(json.dumps({"method": "left-out", "metrics": {}}))
    return root


@pytest.fixture(scope="module")
def recorded(finished):
    return json.loads(json.dumps(metric_agreement.record(finished, ["first", "second"])))


def values_of(root, setting, name):
    found = {}
    for method in METHODS[1:]:
        document = json.loads((root / f"results/{setting}/metrics/{method}.json").read_text())
        found[method] = document["metrics"][name]["value"]
    return found


def test_the_correlation_of_a_pair_is_that_of_scipy_without_the_control(finished, recorded):
    for setting, first, second, value, low, high, count in recorded["by_setting"]:
        a, b = (values_of(finished, setting, name) for name in (first, second))
        assert value == pytest.approx(spearmanr(list(a.values()), list(b.values())).statistic, abs=1e-4)
        assert -1 <= low <= value <= high <= 1 and count == 12


def test_pooled_values_are_means_over_the_settings_that_have_both(recorded):
    for first, second, value, low, high, count in recorded["pooled"]:
        own = [row[3] for row in recorded["by_setting"] if row[1:3] == [first, second]]
        assert value == pytest.approx(np.mean(own), abs=1e-4) and count == len(own)
        assert low <= value <= high
    pairs = {tuple(row[:2]): row[2:] for row in recorded["pooled"]}
    assert pairs["lds", "counterfactual_drop"][1] > 0.5
    assert pairs["lds", "coreset_keep_best"][:1] == [-1.0] and pairs["lds", "coreset_keep_best"][3] == 1
    low, high = pairs["lds", "same_class_10"][1:3]
    assert low < 0 < high


def test_reliability_is_high_for_precise_metrics(recorded):
    reliability = {name: entry["reliability"] for name, entry in recorded["metrics"].items()}
    assert reliability["counterfactual_drop"] > reliability["lds"] > 0.9
    assert [entry["retrains"] for entry in recorded["metrics"].values()] == [False, False, True, True]


def test_weighted_correlations_equal_those_of_repeated_items():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (20, 9)).astype(float), rng.integers(0, 4, (20, 9)).astype(float)
    counts = rng.integers(0, 4, (20, 9)).astype(float)
    found = metric_agreement.correlation(x, y, counts)
    for row in range(20):
        times = counts[row].astype(int)
        expected = spearmanr(np.repeat(x[row], times), np.repeat(y[row], times)).statistic
        assert found[row] == pytest.approx(expected, nan_ok=True)


def test_methods_of_one_kind_are_drawn_together():
    methods = ["trak", "trak-10", "if-cg", "graddot"]
    counts = metric_agreement.kinds_drawn(methods, 200)
    assert (counts[:, 0] == counts[:, 1]).all() and (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert counts.std(axis=0).min() > 0.5


def test_few_methods_and_constant_metrics_have_no_correlation():
    some = {f"m{number}": (float(number), np.arange(5.0)) for number in range(6)}
    constant = {name: (1.0, np.ones(5)) for name in some}
    assert metric_agreement.agreement(some, some, min_methods=7) is None
    assert metric_agreement.agreement(some, constant, min_methods=3) is None
    found, count = metric_agreement.agreement(some, some, min_methods=6)
    assert (found[0], count) == (1.0, 6)


def test_the_section_names_the_best_predictor_and_where_places_part(recorded):
    text = metric_agreement.section(recorded)
    (drop,) = (row for row in text.splitlines() if row.startswith("| `counterfactual_drop`"))
    assert "`same_class_10`" in drop
    assert text.count("| `lds`, `counterfactual_drop` |") == 2
    apart = recorded["partings"]
    assert {entry["setting"] for entry in apart} <= {"first", "second"} and len(apart) == 8
    assert abs(apart[0]["lds"] - apart[0]["useful"]) >= abs(apart[-1]["lds"] - apart[-1]["useful"])
    assert f"| `{apart[0]['setting']}` | `{apart[0]['method']}` |" in text


def test_a_section_is_added_once_and_then_replaced():
    first = metric_agreement.placed("# Findings\n\ntext\n", "one\n")
    assert first.count(metric_agreement.HEADING) == 1
    second = metric_agreement.placed(first.replace("one", "old") + "\n## Next\n", "two\n")
    assert "old" not in second and "two" in second and second.endswith("## Next\n")
    assert second.count(metric_agreement.BEGIN) == second.count(metric_agreement.HEADING) == 1


def test_the_figure_has_a_row_per_metric(recorded):
    figure = metric_agreement.draw(recorded)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["lds", "same_class_10", "coreset_keep_best", "counterfactual_drop"]


def test_the_findings_are_those_of_the_record():
    record = REPOSITORY / metric_agreement.RECORD
    page = (REPOSITORY / metric_agreement.PAGE).read_text(encoding="utf-8")
    if record.exists():
        content = metric_agreement.section(json.loads(record.read_text()))
        assert metric_agreement.placed(page, content) == page, (
            "run python benchmarks/metric_agreement.py write"
        )
    else:
        assert metric_agreement.BEGIN not in page
