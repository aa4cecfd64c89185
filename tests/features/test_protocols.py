"""Methods know features by protocols only: all members that these promise exist, with the same arguments.

This is a test and not a check by mypy, because the types are narrower on purpose: a block is compared with blocks of its own
kind only, and frozen dataclasses have attributes that mypy does not accept for a protocol's.
"""

from __future__ import annotations

import functools
import inspect
from typing import Protocol

import pytest
import torch
from torch import nn

from features.models import target_gradients
from proponent.config.recipe_schema import RecipeConfig
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.views import (
    CheckpointTimes,
    GradientPair,
    History,
    Network,
    OutputPair,
    RepresentationPair,
)
from proponent.methods.shared import needs
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification
from proponent.steps.io.shared_needs import Permutations, Retrainings
from proponent.steps.io.stored_texts import Texts
from proponent.training.designs import Run
from proponent.training.replay import Replay

PROTOCOLS = [
    name
    for name, value in vars(needs).items()
    if getattr(value, "_is_protocol", False) and value is not Protocol
]


@functools.cache
def made():
    """Return the objects that methods receive, by the name of their protocol."""
    torch.manual_seed(0)
    module, task = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), Classification()
    x, y = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    data = Arrays(x, y, x, y)
    block, outputs = target_gradients(module, task, x, y)
    weight = task.loss_weight(outputs, y)
    pair = GradientPair(block, block, weight, task.loss_curvature(outputs, y), 0.1, 1.0)
    times = CheckpointTimes([1], [0.1], [1.0])
    curvature = Curvature(module, task, *data, weight_decay=0.0, duration=1.0)
    network = Network(0, times, lambda index: curvature, lambda weights: curvature)
    basis = curvature.kronecker(0, 0)
    output, representation = OutputPair(outputs, outputs, weight), RepresentationPair(x, x)
    replay = Replay(lambda seed: module, task, RecipeConfig(lr=0.1, steps=2), Run(0, 0), data)
    return {
        "Data": data,
        "Texts": Texts(["a text"], ["a query"]),
        "Retrainings": Retrainings(torch.ones(2, 5), torch.zeros(2, 5)),
        "Permutations": Permutations(torch.ones(1, 2, 5), torch.zeros(1, 2, 5)),
        "GradientBlock": block,
        "TargetPair": curvature.dropped(0.1, 0),
        "GradientPair": pair,
        "Gradients": History(0, times, lambda index: pair),
        "OutputPair": output,
        "Outputs": History(0, times, lambda index: output),
        "RepresentationPair": representation,
        "Representations": History(0, times, lambda index: representation),
        "RotatedGradients": basis.rotate(block),
        "KroneckerBasis": basis,
        "Curvature": curvature,
        "Stage": network.stages[0],
        "Network": network,
        "ReplayPoint": replay.end(),
        "ReplayStep": next(replay.backward()),
        "Replay": replay,
    }


def assert_keeps(found, protocol):
    """Assert that an object has the attributes, properties and methods of a protocol, with the same arguments."""
    for base in protocol.__mro__:
        for attribute in inspect.get_annotations(base):
            assert hasattr(found, attribute), attribute
    for attribute, _ in inspect.getmembers(protocol, lambda member: isinstance(member, property)):
        assert hasattr(found, attribute), attribute
    for method, promised in inspect.getmembers(protocol, inspect.isfunction):
        if method.startswith("_") and method != "__len__":
            continue
        wanted = list(inspect.signature(promised).parameters.values())[1:]
        actual = list(inspect.signature(getattr(found, method)).parameters.values())
        assert [(p.name, p.kind, p.default) for p in actual] == [
            (p.name, p.kind, p.default) for p in wanted
        ], method


def test_every_protocol_has_an_object():
    assert set(made()) == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_object_has_all_members_of_its_protocol(name):
    assert_keeps(made()[name], getattr(needs, name))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "sparse"])
def test_a_projected_block_has_all_members_of_a_block(kind):
    block = made()["GradientBlock"].project(8, kind, 0)
    assert_keeps(block, needs.GradientBlock)
    assert len(block) == 5


def test_a_gradient_pair_is_a_target_pair():
    assert_keeps(made()["GradientPair"], needs.TargetPair)


def test_checkpoints_hand_over_objects_that_keep_their_protocols():
    found = made()
    for history, pair in (
        ("Gradients", "GradientPair"),
        ("Outputs", "OutputPair"),
        ("Representations", "RepresentationPair"),
        ("Network", "Curvature"),
    ):
        assert_keeps(found[history].at(1.0), getattr(needs, pair))
