"""Methods know features by protocols only: what these promise is there, by name and by argument."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from features.models import target_gradients
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.views import (
    CheckpointTimes,
    GradientPair,
    History,
    Network,
    OutputPair,
    RepresentationPair,
)
from proponent.methods.shared import needs as inputs
from proponent.settings.tasks import Classification


def made():
    """Return one object for each protocol."""
    module, task = nn.Linear(4, 3), Classification()
    x, y = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    block, outputs = target_gradients(module, task, x, y)
    weight = task.loss_weight(outputs, y)
    pair = GradientPair(block, block, weight, 0.1, 1.0)
    history = History(0, CheckpointTimes([1], [0.1], [1.0]), lambda index: pair)
    curvature = Curvature(module, task, x, y, x, y, weight_decay=0.0, duration=1.0)
    network = Network(0, history.times, lambda index: curvature, lambda weights: curvature)
    return {
        "GradientBlock": block,
        "GradientPair": pair,
        "Gradients": history,
        "OutputPair": OutputPair(outputs, outputs, weight),
        "Outputs": history,
        "RepresentationPair": RepresentationPair(x, x),
        "Representations": history,
        "Curvature": curvature,
        "Network": network,
        "Stage": network.stages[0],
        "KroneckerBasis": curvature.kronecker(0, 0),
    }


@pytest.mark.parametrize("name", made())
def test_an_object_has_all_that_its_protocol_promises(name):
    protocol, found = getattr(inputs, name), made()[name]
    for attribute in inspect.get_annotations(protocol):
        assert hasattr(found, attribute), attribute
    for method, promised in inspect.getmembers(protocol, inspect.isfunction):
        if method.startswith("_") and method != "__len__":
            continue
        wanted = list(inspect.signature(promised).parameters)[1:]
        assert list(inspect.signature(getattr(found, method)).parameters) == wanted, method


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "sparse"])
def test_a_projected_block_keeps_the_promises_of_a_block(kind):
    block = made()["GradientBlock"].project(8, kind, 0)
    for method, promised in inspect.getmembers(inputs.GradientBlock, inspect.isfunction):
        if not method.startswith("_"):
            wanted = list(inspect.signature(promised).parameters)[1:]
            assert list(inspect.signature(getattr(block, method)).parameters) == wanted, method
    assert len(block) == 5
