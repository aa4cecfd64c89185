"""Scores from Python are those of the DAG for the same checkpoints, for every method that a trained model is enough for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from docs.tiny_results import MODULE, make_results
from proponent.attributor import Attributor
from proponent.methods.shared.needs import NEEDS
from proponent.trained.method_choice import OF_MODELS, choose_method, method_names

SETTING = "formulas"


def runs_on_models(name: str) -> bool:
    """Return whether a method needs nothing but one trained model, on rows that are no texts."""
    choice = choose_method(name, {})
    enough = {*OF_MODELS, "data", "workspace"}
    return (
        set(choice.needs) <= enough
        and choice.config.members == 1
        and name not in ("bm25", "tfidf", "tracin-we")
    )


METHODS = [name for name in method_names() if runs_on_models(name)]


def test_the_needs_that_a_trained_model_meets_are_needs():
    assert set(OF_MODELS) <= set(NEEDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dag") / "checkout"
    make_results(root, {SETTING: METHODS}, {})
    return root


def read(root: Path, part: str) -> tuple[Tensor, Tensor]:
    tensors = load_file(root / f"results/{SETTING}/data/{part}.safetensors")
    return tensors["x"], tensors["y"]


@pytest.mark.parametrize("method", METHODS)
def test_scores_and_self_influence_equal_those_of_the_dag(made, method):
    member = made / f"results/{SETTING}/ensemble/member-000"
    training = json.loads((member / "training.json").read_text())
    files = [*sorted(member.glob("step-*.safetensors")), member / "final.safetensors"]
    checkpoints = list(zip(files, training["learning_rates"], training["steps"], strict=True))
    scores = made / f"results/{SETTING}/scores/{method}.safetensors"
    params = json.loads(Path(f"{scores}.manifest.json").read_text())["details"]["hyper_parameters"]
    own_params = {
        name: value for name, value in params.items() if name != "checkpoints" or isinstance(value, int)
    }
    attributor = Attributor(
        method,
        sys.modules[MODULE].net(),
        read(made, "train"),
        checkpoints=checkpoints,
        weight_decay=0.01,
        momentum=0.5,
        **own_params,
    )
    expected = load_file(scores)
    found = attributor.attribute(read(made, "query"))
    scale = expected["scores"].abs().max()
    torch.testing.assert_close(found, expected["scores"], rtol=1e-6, atol=1e-6 * float(scale))
    if "self_influence" in expected:
        own = attributor.self_influence()
        torch.testing.assert_close(
            own, expected["self_influence"], rtol=1e-6, atol=1e-6 * float(own.abs().max())
        )
