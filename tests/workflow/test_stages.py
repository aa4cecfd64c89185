"""A setting whose recipe has stages, from data to scores: the example of docs/adding-a-setting.md on a tiny problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from docs.guides import REPOSITORY, blocks_of
from workflow.checkout import Checkout, make_checkout

SETTING = "configs/settings/toy.yaml"
SCORES = [f"results/toy/scores/{method}.safetensors" for method in ("source", "magic")]


def with_stages(root: Path) -> Checkout:
    checkout = make_checkout(root)
    (example,) = [
        block.text for block in blocks_of(REPOSITORY / "docs/adding-a-setting.md") if "stages:" in block.text
    ]
    lines = (checkout.root / SETTING).read_text().splitlines()
    recipe = next(line for line in lines if line.startswith("recipe:"))
    checkout.edit(SETTING, f"{recipe}\n", example)
    return checkout


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = with_stages(tmp_path_factory.mktemp("stages") / "checkout")
    checkout.make(*SCORES, "results/toy/ground_truth/loo.safetensors", methods=["source", "magic"])
    return checkout.root / "results/toy"


@pytest.mark.slow
def test_a_member_is_trained_on_one_stage_after_the_other(done: Path) -> None:
    training = json.loads((done / "ensemble/member-000/training.json").read_text())
    assert training["stages"] == [{"examples": [0, 40], "stop": 20}, {"examples": [40, 60], "stop": 25}]
    assert training["steps"] == [2, 5, 10, 20, 21, 22, 25]
    assert training["learning_rates"] == [0.2] * 4 + [0.05] * 3
    assert training["learning_rate_sums"][-1] == pytest.approx(20 * 0.2 + 5 * 0.05)
    for step in training["steps"][:-1]:
        assert (done / f"ensemble/member-000/step-{step:06d}.safetensors").exists()


def test_its_scores_are_near_the_exact_derivatives(done: Path) -> None:
    found, exact = (load_file(done.parents[1] / path)["scores"] for path in SCORES)
    for stage, least in ((slice(0, 40), 0.7), (slice(40, 60), 0.98)):
        both = torch.stack([found[:, stage].flatten(), exact[:, stage].flatten()])
        assert torch.corrcoef(both)[0, 1] > least


def test_it_is_retrained_in_stages_too(done: Path) -> None:
    assert load_file(done / "ground_truth/loo.safetensors")["targets"].isfinite().all()
