"""Hyper-parameters out of range are refused when the configuration is read, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.ranges import check_ranges
from proponent.config.signature import read_signature
from proponent.errors import UserError

REPOSITORY = Path(__file__).parents[2]


def read(method="random", metric="lds", **overrides):
    return load_benchmark(
        REPOSITORY,
        {"settings": ["digits-lr"], "methods": [method], "metrics": [metric], "overrides": overrides},
    )


CASES = [
    (
        "graddot",
        {"tune": None, "params": {"checkpoint": 30.0}},
        r"params.checkpoint must be in \(0, 1\], not 30.0",
    ),
    ("tracin", {"tune": None, "params": {"until": 0.0}}, r"params.until must be in \(0, 1\], not 0.0"),
    (
        "if-exact",
        {"tune": None, "params": {"damping": -1.0}},
        r"params.damping must be in \[0, inf\), not -1.0",
    ),
    (
        "trak",
        {"tune": {"grid": {"damping": [1.0, -3.0]}}},
        r"tune.grid.damping must be in \[0, inf\), not -3.0",
    ),
    ("rps", {"tune": {"grid": {"regularisation": [0.0]}}}, r"tune.grid.regularisation must be in \(0, inf\)"),
    (
        "trak-projected",
        {"params": {"projection_dim": -1}},
        r"params.projection_dim must be in \[0, inf\), not -1",
    ),
    ("trak-dropout", {"params": {"drop": 1.0}}, r"params.drop must be in \[0, 1\), not 1.0"),
    ("logra", {"params": {"side": 0}}, r"params.side must be in \[1, inf\), not 0"),
    ("if-arnoldi", {"params": {"rank": 60}}, r"params.rank must be in \[1, iterations\], not 60"),
    ("if-cg", {"params": {"tolerance": 2.0}}, r"params.tolerance must be in \(0, 1\), not 2.0"),
    ("if-lissa", {"params": {"scale": 0.0}}, r"params.scale must be in \(0, inf\), not 0.0"),
    (
        "knn-shapley",
        {"tune": {"grid": {"neighbours": [0]}}},
        r"tune.grid.neighbours must be in \[1, inf\), not 0",
    ),
    ("lava", {"params": {"entropy": 0.0}}, r"params.entropy must be in \(0, inf\), not 0.0"),
    ("less", {"tune": {"grid": {"points": [0]}}}, r"tune.grid.points must be in \[1, inf\), not 0"),
    ("trackstar", {"params": {"mixing": 2.0}}, r"params.mixing must be in \[0, 1\], not 2.0"),
]


@pytest.mark.parametrize(("method", "fields", "message"), CASES, ids=[case[0] for case in CASES])
def test_hyperparameter_out_of_range(method, fields, message):
    with pytest.raises(UserError, match=rf"configs/methods/{method}.yaml.*: {message}"):
        read(method, methods={method: fields})


def test_hyperparameter_out_of_range_of_a_metric():
    with pytest.raises(
        UserError, match=r"configs/metrics/lds.yaml.*params.resamples must be in \[1, inf\), not 0"
    ):
        read(metrics={"lds": {"params": {"resamples": 0}}})


def test_hyperparameter_out_of_range_given_by_another_value():
    check_ranges({"rank": "[1, iterations]"}, {"rank": 5, "iterations": 5}, "")
    with pytest.raises(ValueError, match="is neither a number nor the name of another value"):
        check_ranges({"rank": "[1, depth]"}, {"rank": 5}, "")
    with pytest.raises(ValueError, match="is not an interval such as"):
        check_ranges({"rank": "at least 1"}, {"rank": 5}, "")


def test_ranges_name_hyperparameters_of_their_method_and_hold_for_the_defaults():
    tree = read().tree
    found = 0
    for path in (REPOSITORY / "src/proponent/methods").glob("*/*.py"):
        if path.parent.name == "shared" or path.stem == "__init__":
            continue
        module = f"proponent.methods.{path.parent.name}.{path.stem}"
        signature = read_signature(tree, module, "attribute", "test")
        ranges = signature.constants.get("RANGES", {})
        assert set(ranges) <= set(signature.keywords), module
        signature.check_ranges({}, "")
        found += len(ranges)
    assert found > 20
