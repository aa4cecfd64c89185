"""Values that measure how difficult an example is: EL2N, GraNd, forgetting and AUM against their definitions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from methods.fakes import Checkpoints, inputs_of, mlp_world
from proponent.methods.valuation import aum, el2n, forgetting, grand

Y = torch.tensor([0, 1, 2, 1])
LOGITS = torch.tensor([[2.0, 0, 0], [0, 1, 0], [1, 1, 1], [3, 0, 0]], dtype=torch.float64)
DATA = SimpleNamespace(y_train=Y, y_query=torch.tensor([0, 1]))


def outputs(*logits: torch.Tensor) -> Checkpoints:
    return Checkpoints({(k + 1) / len(logits): SimpleNamespace(train=own) for k, own in enumerate(logits)})


def test_el2n_is_the_norm_of_the_error_of_the_probabilities():
    expected = np.linalg.norm(softmax(LOGITS.numpy(), axis=1) - np.eye(3)[Y], axis=1)
    found = el2n.attribute(DATA, outputs(LOGITS), checkpoint=1.0)
    np.testing.assert_allclose(found, np.tile(expected, (2, 1)), atol=1e-12)


def test_el2n_of_one_logit_is_that_of_two():
    z = torch.tensor([[0.3], [-1.0], [2.0]], dtype=torch.float64)
    data = SimpleNamespace(y_train=torch.tensor([0, 1, 1]), y_query=torch.tensor([0]))
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(el2n.attribute(data, outputs(z)), el2n.attribute(data, outputs(two)))


def test_grand_is_the_norm_of_the_gradient_of_the_loss():
    world = mlp_world(n=20, steps=20, n_query=2)
    found = grand.attribute(**inputs_of(grand, world))
    loss = torch.func.grad(lambda theta, i: world.loss(theta, world.x_train[i], world.y_train[i]))
    expected = torch.stack([loss(world.theta, i).norm() for i in range(20)])
    torch.testing.assert_close(found, expected.expand(2, -1))
    torch.testing.assert_close(grand.self_influence(**inputs_of(grand, world), checkpoint=1.0), expected)


@pytest.mark.parametrize(
    ("history", "events"),
    [("1111", 0), ("0111", 0), ("1011", 1), ("0101", 1), ("1010", 2), ("0001", 0), ("0000", 4)],
)
def test_forgetting_counts_the_times_that_a_label_is_lost(history: str, events: int):
    """The first example is right at the checkpoints with a 1; the others are always right."""
    logits = []
    for right in history:
        own = 5 * torch.eye(3)[Y]
        own[0] = torch.tensor([1.0, 0, 0]) if right == "1" else torch.tensor([0, 1.0, 0])
        logits.append(own)
    found = forgetting.attribute(DATA, outputs(*logits))
    assert found.tolist() == [[events, 0, 0, 0]] * 2


def test_aum_is_the_mean_margin_of_the_label():
    second = torch.tensor([[0.0, 1, 5], [0, 1, 0], [0, 2, 1], [0, 4, 0]], dtype=torch.float64)
    margins = [[2, 1, 0, -3], [-5, 1, -1, 4]]
    found = aum.attribute(DATA, outputs(LOGITS, second))
    np.testing.assert_allclose(found, np.tile(-np.mean(margins, axis=0), (2, 1)), atol=1e-12)


def test_aum_of_one_logit_is_minus_its_signed_mean():
    z = torch.tensor([[0.3], [-1.0], [2.0]], dtype=torch.float64)
    data = SimpleNamespace(y_train=torch.tensor([0, 1, 1]), y_query=torch.tensor([0]))
    torch.testing.assert_close(
        aum.self_influence(data, outputs(z, 3 * z)), torch.tensor([0.6, 2.0, -4.0], dtype=torch.float64)
    )


def test_wrong_labels_are_difficult():
    world = mlp_world(n=60, steps=40)
    wrong = torch.arange(60) < 6
    labels = torch.where(wrong, (world.y_train + 1) % 3, world.y_train)
    flipped = type(world)(**{**world.__dict__, "y_train": labels})
    for module in (el2n, grand):
        values = module.attribute(**inputs_of(module, flipped))[0]
        assert values[wrong].mean() > 2 * values[~wrong].mean()
