"""The attribution job of a method on NumPy arrays, as a process of its own: torch is never imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from proponent.config.benchmark import load_benchmark
from proponent.plan.run_plan import Plan
from proponent.plan.settle import settle
from workflow.checkout import make_checkout

METHOD = '''"""Scores that are the label of the example, in NumPy."""

import numpy as np

ARRAYS = "numpy"


def attribute(data, *, scale: float = 2.0):
    return scale * np.ones((len(data.x_query), 1)) * data.y_train


def self_influence(data, *, scale: float):
    return scale * data.x_train.sum(1)
'''

PROGRAM = """
import sys
from proponent.cli import cli
cli(["attribute", "results/toy/keys/scores/labels.safetensors.json"], standalone_mode=False)
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.mark.slow
def test_a_method_on_arrays_is_scored_without_torch(tmp_path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "src/proponent/methods/baselines/labels.py").write_text(METHOD)
    (checkout.root / "configs/methods/labels.yaml").write_text("family: labels\n")
    plan = Plan(load_benchmark(checkout.root, {"methods": ["labels"]}))
    settle(plan.graph)
    checkout.run_step("data", "results/toy/keys/data/train.safetensors.json")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=checkout.root,
        env=checkout.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    data = load_file(checkout.root / "results/toy/data/train.safetensors")
    stored = load_file(checkout.root / "results/toy/scores/labels.safetensors")
    assert stored["scores"].dtype == stored["self_influence"].dtype == np.float32
    assert np.array_equal(stored["scores"], np.broadcast_to(2.0 * data["y"], (9, 60)).astype(np.float32))
    assert np.array_equal(stored["self_influence"], (2.0 * data["x"].sum(1)).astype(np.float32))
