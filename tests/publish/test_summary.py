"""The leaderboard of one setting, which the step ``summary`` computes and all tables and figures read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.publish.ranking import Ranking
from proponent.steps.collect import show
from proponent.steps.io.rankings import ranking_path, read_ranking
from proponent.steps.summary import rank


def document(method: str, **values: float) -> dict:
    rng = np.random.default_rng(0)
    metrics = {
        metric: {"value": value, "replicates": (value + 0.01 * rng.random(40)).tolist()}
        for metric, value in values.items()
    }
    return {
        "setting": "s",
        "method": method,
        "metrics": metrics,
        "cost": {"total_seconds": 1.0, "ledger": {}},
    }


def test_methods_are_compared_within_a_metric_only():
    rows, ranking = rank("s", [document("a", lds=0.2, loo=0.9), document("b", lds=0.8)])
    assert [(row["setting"], row["metric"], row["method_a"], row["method_b"]) for row in rows] == [
        ("s", "lds", "b", "a")
    ]
    assert ranking.ranks == {"lds": {"b": 1, "a": 2}, "loo": {"a": 1}}


def test_every_pair_of_methods_is_compared_once(documents):
    rows, _ = rank("mnist-lr", [d for d in documents if d["setting"] == "mnist-lr"])
    pairs = [row for row in rows if row["metric"] == "lds"]
    assert len(pairs) == 14 * 13 / 2
    assert all(pair["difference"] >= 0 for pair in pairs)
    assert len({frozenset((pair["method_a"], pair["method_b"])) for pair in pairs}) == len(pairs)


def test_a_ranking_does_not_depend_on_the_order_of_the_files(documents):
    own = [d for d in documents if d["setting"] == "mnist-lr"]
    assert rank("mnist-lr", own) == rank("mnist-lr", own[::-1])


def test_a_ranking_keeps_values_and_costs_without_what_only_the_metrics_file_needs():
    _, ranking = rank("s", [document("a", lds=0.2)])
    assert ranking.documents == [
        {"setting": "s", "method": "a", "metrics": {"lds": {"value": 0.2}}, "cost": {"total_seconds": 1.0}}
    ]


def write(root, ranking: Ranking) -> None:
    path = root / ranking_path(ranking.setting)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(ranking)))


def test_a_ranking_is_read_as_it_was_written(tmp_path, rankings):
    write(tmp_path, rankings[0])
    assert read_ranking(tmp_path, rankings[0].setting) == rankings[0]


def test_a_setting_is_printed_as_soon_as_it_is_summarised(tmp_path, rankings, capsys):
    keys = tmp_path / "results/keys/leaderboard.csv.json"
    keys.parent.mkdir(parents=True)
    keys.write_text(json.dumps({"spec": {"methods": {"digits-lr": [], "mnist-lr": []}}}))
    write(tmp_path, next(ranking for ranking in rankings if ranking.setting == "digits-lr"))
    show(tmp_path)
    printed = capsys.readouterr().out
    assert "if-exact" in printed
    assert "Not finished yet: mnist-lr" in printed
    show(tmp_path, "digits-lr")
    assert "if-exact" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"^results/mnist-lr/leaderboard/ranking\.json: not made yet; run snakemake"
    ):
        show(tmp_path, "mnist-lr")
    with pytest.raises(
        UserError, match=r"the last run has no setting 'mnist-rl'; did you mean 'mnist-lr'\?$"
    ):
        show(tmp_path, "mnist-rl")


def test_before_the_first_run_there_is_nothing_to_print(tmp_path):
    with pytest.raises(UserError, match=r"^results/leaderboard\.csv: not made yet; run snakemake$"):
        show(tmp_path)


NUMPY_ONLY = [
    "proponent.metrics.lds",
    "proponent.metrics.lds_fixed_seed",
    "proponent.metrics.loo",
    "proponent.metrics.mislabel",
    "proponent.steps.evaluate",
    "proponent.steps.collect",
    "proponent.steps.summary",
    "proponent.steps.figures",
    "proponent.steps.overview",
    "proponent.steps.publish",
]


@pytest.mark.slow
@pytest.mark.parametrize("module", NUMPY_ONLY)
def test_steps_that_need_arrays_only_start_without_heavy_libraries(module):
    """One job per method imports these modules: torch costs a second of CPU time, scipy.stats and sklearn as much."""
    code = f"import sys, {module}; print(*({{'torch', 'pandas', 'sklearn', 'scipy', 'mlflow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["proponent.steps.collect", "proponent.steps.summary"])
def test_tables_start_without_matplotlib(module):
    code = f"import sys, {module}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
