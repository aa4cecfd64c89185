"""Binary classification with one logit has the scores of the same network with the logits (0, z), for every method."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import proponent.methods
from methods.model_cases import Case
from methods.test_model_cases import Problem

MODEL = {"gradients", "outputs", "representations", "network", "replay"}
NEEDS = {"data", "workspace", *MODEL}
QUICK = {"influence.if_lissa": {"depth": 20}}


class OneLogit(nn.Sequential):
    """A network that returns z."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))


class TwoLogits(OneLogit):
    """The same network, with a logit of 0 for the class 0."""

    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x)
        return torch.cat([torch.zeros_like(z), z], 1)


def applicable() -> list[str]:
    """Return the methods whose needs a model, its training by SGD and the data provide, and that use the model."""
    found = []
    for entry in pkgutil.walk_packages(proponent.methods.__path__, "proponent.methods."):
        if entry.ispkg or ".shared." in entry.name or entry.name.endswith("tracin_we"):  # which needs tokens
            continue
        module = importlib.import_module(entry.name)
        arguments = inspect.signature(module.attribute).parameters.values()
        needs = {item.name for item in arguments if item.kind is item.POSITIONAL_OR_KEYWORD}
        if needs <= NEEDS and needs & MODEL and "sgd" in getattr(module, "OPTIMIZERS", ("sgd",)):
            found.append(entry.name.removeprefix("proponent.methods."))
    return found


@cache
def problems() -> tuple[Problem, Problem]:
    made = Case(OneLogit, y="two classes", task="binary"), Case(TwoLogits, y="two classes")
    return Problem(made[0]), Problem(made[1])


@pytest.mark.parametrize("name", applicable())
def test_scores_are_those_of_two_logits(name: str) -> None:
    module = importlib.import_module(f"proponent.methods.{name}")
    one, two = (problem.results(module, QUICK.get(name, {}), 1) for problem in problems())
    assert one.keys() == two.keys()
    for key, found in one.items():
        torch.testing.assert_close(found, two[key], rtol=1e-6, atol=1e-9 * float(two[key].abs().max()))
