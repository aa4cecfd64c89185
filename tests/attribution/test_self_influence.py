"""Hyper-parameters of ``self_influence``: declared once, in ``attribute``; YAML has precedence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from proponent.attribution.scoring import Scorer
from proponent.attribution.self_influence_params import self_influence_params
from proponent.errors import UserError


def attribute(gradients: object, *, damping: float = 1.0, weighting: str = "sqrt", seed: int = 0) -> Tensor:
    return torch.ones(1, 2)


def new_style(gradients: object, *, damping: float, weighting: str) -> Tensor:
    return torch.full((2,), damping)


def old_style(gradients: object, *, damping: float = 0.5, scale: float = 2.0) -> Tensor:
    return torch.full((2,), damping * scale)


@pytest.mark.parametrize(
    ("configured", "constants", "expected"),
    [
        ({}, {}, {"damping": 1.0, "weighting": "sqrt"}),
        ({}, {"damping": 0.01}, {"damping": 0.01, "weighting": "sqrt"}),
        ({"damping": 3.0}, {"damping": 0.01}, {"damping": 3.0, "weighting": "sqrt"}),
        ({"weighting": "none", "seed": 4}, {}, {"damping": 1.0, "weighting": "none"}),
    ],
)
def test_values_come_from_yaml_then_the_constant_then_attribute(configured, constants, expected) -> None:
    assert self_influence_params(attribute, new_style, configured, constants) == expected


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({}, {}),
        ({"damping": 3.0}, {"damping": 3.0}),
        ({"weighting": "none"}, {}),
        ({"scale": 1.0}, {"scale": 1.0}),
    ],
)
def test_a_default_of_its_own_is_kept_unless_yaml_sets_the_value(configured, expected) -> None:
    assert self_influence_params(attribute, old_style, configured, {}) == expected


def test_a_name_without_any_value_is_one_line() -> None:
    def asks_more(gradients: object, *, rank: int) -> Tensor: ...

    with pytest.raises(UserError, match=r"mine\.yaml: self_influence needs a value of 'rank'"):
        self_influence_params(attribute, asks_more, {}, {}, "mine.yaml")


def test_it_is_averaged_over_members_with_the_constants_of_its_module() -> None:
    def by_member(gradients: float, *, damping: float) -> Tensor:
        return torch.full((2,), gradients * damping)

    module = SimpleNamespace(self_influence=by_member, SELF_INFLUENCE={"damping": 0.5})
    members = [{"gradients": 1.0}, {"gradients": 3.0}]
    assert Scorer(module, attribute).self_influence({}, members).tolist() == [1.0, 1.0]
    assert Scorer(module, attribute).self_influence({"damping": 2.0}, members).tolist() == [4.0, 4.0]


def test_checkpoints_are_averaged_where_it_has_that_hyper_parameter() -> None:
    def late(gradients: float, *, checkpoint: float = 1.0) -> Tensor:
        return torch.full((2,), gradients * checkpoint)

    members = [{"gradients": 1.0}]
    scorer = Scorer(SimpleNamespace(self_influence=late), attribute, checkpoints=(0.5, 1.0))
    assert scorer.self_influence({}, members).tolist() == [0.75, 0.75]
    fixed = SimpleNamespace(self_influence=lambda gradients: torch.full((2,), gradients))
    assert Scorer(fixed, attribute, checkpoints=(0.5, 1.0)).self_influence({}, members).tolist() == [1.0, 1.0]
