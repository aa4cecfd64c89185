"""Factories are named in YAML, and each mistake in naming them has a message of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proponent.config.model_schema import FactoryConfig
from proponent.errors import UserError
from proponent.settings import Split
from proponent.settings.factories import build_dataset, build_model
from proponent.settings.imported_callables import call_factory

MLP = FactoryConfig("proponent.settings.models:mlp", {"n_features": 4, "hidden": [3], "n_classes": 2})


def test_the_seed_decides_the_initialisation_and_nothing_else_is_touched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_model(MLP, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_initialisation_is_torch_s_own():
    torch.manual_seed(7)
    plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    torch.testing.assert_close(build_model(MLP, 7).state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_dropout_and_activation_are_chosen_by_name():
    config = FactoryConfig(MLP.factory, {**MLP.args, "activation": "tanh", "dropout": 0.5})
    assert [type(layer) for layer in build_model(config, 0)] == [nn.Linear, nn.Tanh, nn.Dropout, nn.Linear]


@pytest.mark.parametrize(
    "factory, args, match",
    [
        ("proponent.settings.models.mlp", {}, "must read 'package.module:function'"),
        ("nowhere.at_all:f", {}, "there is no module 'nowhere'"),
        ("peft.nowhere:f", {}, r"'make env-text', or with pip install 'proponent\[text\]'"),
        ("proponent.settings.modles:mlp", {}, "there is no module 'proponent.settings.modles'"),
        ("proponent.settings.models:mpl", {}, "has no function 'mpl'; did you mean 'mlp'"),
        (MLP.factory, {**MLP.args, "hiden": [3]}, "unexpected argument 'hiden'; did you mean 'hidden'"),
        (MLP.factory, {"n_features": 4}, "args lacks hidden, n_classes"),
        (MLP.factory, {**MLP.args, "activation": "rleu"}, "unknown activation 'rleu'; did you mean 'relu'"),
        ("tempfile:gettempdir", {}, "must return a torch.nn.Module, not a str"),
    ],
)
def test_mistakes_are_named_in_one_line(factory, args, match):
    with pytest.raises(UserError, match=match) as error:
        build_model(FactoryConfig(factory, args), 0)
    assert "\n" not in str(error.value)


def test_a_dataset_factory_returns_a_split():
    with pytest.raises(UserError, match=r"must return a proponent\.settings\.Split, not a Sequential"):
        build_dataset(MLP, 0)
    split = call_factory(FactoryConfig("proponent.settings.datasets:digits", {"n_train": 10}), 0)
    assert isinstance(split, Split)
