"""Targets of stacked models are those of the models one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proponent.training.largest_result import LargestResult
from proponent.training.lockstep import train
from proponent.training.predict import targets
from proponent.training.stack import state_dict
from training.test_lockstep import (
    CLASSIFICATION,
    FLOAT_MODELS,
    RECIPES,
    TOKEN_MODELS,
    data,
    factory,
    some_runs,
)


@pytest.mark.parametrize("model", [*FLOAT_MODELS, *TOKEN_MODELS])
def test_targets_of_stacked_models(model):
    tokens = model in TOKEN_MODELS
    build = factory((TOKEN_MODELS if tokens else FLOAT_MODELS)[model], torch.float64)
    x, y = data(torch.float64, tokens)
    trained = train(build, x, y, CLASSIFICATION, RECIPES["momentum"], some_runs())
    actual = targets(trained.template, trained.state, x, y, CLASSIFICATION, models=2, batch_size=9)
    for index, row in enumerate(actual):
        alone = build(99)
        alone.load_state_dict(state_dict(trained.template, trained.state, index))
        alone.eval()
        with torch.no_grad():
            torch.testing.assert_close(row, CLASSIFICATION.target(alone(x), y), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_evaluated_models_with_large_activations_share_no_pass():
    """All 25 models on all 64 examples would take 1,600 MiB per activation."""
    width = 2**18  # 1 MiB per example and model
    model = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.AdaptiveMaxPool1d(3))
    state = {name: torch.randn(25, *value.shape) for name, value in model.named_parameters()}
    x, y = torch.randn(64, 1), torch.arange(64) % 3
    with LargestResult() as largest:
        assert targets(model, state, x, y, CLASSIFICATION).shape == (25, 64)
    assert largest.bytes <= 64 * 2**20
