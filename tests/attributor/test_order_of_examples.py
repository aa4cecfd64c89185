"""Scores do not depend on the order of the examples: the metric ``stability`` of every method that scores a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import proponent

N, Q = 48, 6
RANDOM = {
    "data-oob": "draws a sample of the examples for every tree",
    "dualda": "its solver visits the examples in random order",
    "ekfac": "draws labels, one example after the other",
    "if-lissa": "draws batches of examples",
    "kfac": "draws labels, one example after the other",
    "relatif": "draws labels, one example after the other",
    "trak-lora": "trains its adapters on batches of examples",
}
"""Methods with random numbers that belong to rows, for which the two scores are estimates of the same quantity."""


def _methods() -> list[str]:
    rows = proponent.methods(task="classification")
    needs = ("one model", "one model, checkpoints with learning rates")
    return [row.name for row in rows if row.needs in needs]


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(N + Q) % 3
    x = torch.randn(N + Q, 4, generator=generator) + nn.functional.one_hot(y, 4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    states = []
    for step in range(1, 31):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:N]), y[:N]).backward()
        optimizer.step()
        if step % 10 == 0:
            states.append(({name: value.clone() for name, value in model.state_dict().items()}, 0.3, step))
    return model, states, (x[:N], y[:N]), (x[N:], y[N:])


@pytest.mark.slow
@pytest.mark.parametrize("method", _methods())
def test_scores_follow_the_examples(method, problem):
    model, states, (x, y), queries = problem
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    scores = [
        proponent.Attributor(method, model, (x[rows], y[rows]), checkpoints=states).attribute(queries)
        for rows in (torch.arange(N), order)
    ]
    back = torch.argsort(order)
    found = proponent.metrics.stability(scores[0], scores[1][:, back], resamples=10)
    assert found.value > (0.8 if method in RANDOM else 0.9999)


def test_the_methods_with_random_numbers_of_rows_exist():
    assert RANDOM.keys() <= set(_methods())
