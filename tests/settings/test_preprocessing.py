"""Rows that stay bytes until they are in front of the model: every engine gives what it gives for the same numbers."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn
from torch.func import vmap

from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import Precision, RecipeConfig
from proponent.config.specifications.step_spec import ModelSpec
from proponent.errors import UserError
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.member_features import featurize, read_gradients
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.rows import NamedRows, outputs_of
from proponent.self_check.check_setting import check_setting
from proponent.self_check.preprocess_check import refuse_preprocess
from proponent.self_check.subject import Subject
from proponent.settings.factories import build_model
from proponent.settings.preprocessing import Preprocess, put_in_front
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import member_run
from proponent.training.lockstep import train
from proponent.training.replay import Replay

G = torch.Generator().manual_seed(0)
Y = torch.arange(48) % 3
BYTES = ((Y[:, None] + 1) * 60 + torch.randint(0, 60, (48, 6), generator=G)).to(torch.uint8)
FLOATS = BYTES.float() / 255
TASK = get_task("classification")
RECIPE = RecipeConfig(lr=0.5, momentum=0.5, epochs=2, batch_size=10)
NET = "lab_preprocess:net"


def arrays(x):
    return Arrays(x[:40], Y[:40], x[40:], Y[40:])


class Centred(nn.Module):
    """Preprocessing with a constant of its own."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.full((6,), 0.5))

    def forward(self, x):
        return x.float() / 255 - self.mean


FACTORIES = {
    "net": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    "scale": lambda by=255: lambda x: x.float() / by,
    "plain": lambda x, by=255: x.float() / by,
    "centred": Centred,
    "by_name": lambda *, image, by=255: image.float() / by,
    "kept": lambda: lambda x: x,
    "random": lambda: lambda x: x.float() + torch.rand(x.shape),
    "batch": lambda: lambda x: x.float() - x.float().mean(0),
    "fewer": lambda: lambda x: x[1:].float(),
    "in_place": lambda: lambda x: x.zero_().float(),
    "fails": lambda: lambda x: x @ x,
    "no_function": lambda: 3,
}


@pytest.fixture(autouse=True)
def factories(monkeypatch):
    module = types.ModuleType("lab_preprocess")
    vars(module).update(FACTORIES)
    monkeypatch.setitem(sys.modules, "lab_preprocess", module)


def builder(preprocess=None, precision=Precision.float32, **args):
    config = FactoryConfig(f"lab_preprocess:{preprocess}", args) if preprocess else None
    return lambda seed: build_model(ModelSpec(NET, preprocess=config), seed, precision)


def same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def trained(build, x):
    runs = [member_run(0, member) for member in range(3)]
    return train(build, x, Y[:40], TASK, RECIPE, runs).state


def test_training_on_bytes_is_training_on_their_numbers():
    found, expected = trained(builder("scale"), BYTES[:40]), trained(builder(), FLOATS[:40])
    assert list(found) == list(expected), "parameters keep their names"
    for name, value in found.items():
        same(value, expected[name])


def test_gradients_and_curvature_on_bytes_are_those_on_their_numbers():
    results = []
    for build, x in ((builder("scale"), BYTES), (builder(), FLOATS)):
        model, data = build(1), arrays(x)
        tensors, description = featurize(
            "gradients", model, lambda _, model=model: model.state_dict(), 1, TASK, data, memory_mib=100
        )
        times = CheckpointTimes([1], [0.5], [1.0])
        pair = read_gradients(description, tensors.__getitem__, data, 0, times).at(1.0)
        reader = NetworkReader(
            model, lambda _, model=model: model.state_dict(), TASK, data, 0, times, 0.0, 100
        )
        curvature = reader.network().at(1.0)
        vector = torch.ones(1, curvature.n_parameters)
        replay = Replay(build, TASK, RECIPE, member_run(0, 0), data)
        results.append(
            [
                pair.train.inner(pair.query),
                pair.loss_weight,
                curvature.hessian_product(vector),
                curvature.ggn(),
                replay.end().query_gradients(),
            ]
        )
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_first_layer_take_what_it_multiplies():
    """The bytes are not mistaken for the input of the first layer, whose factor they would be."""
    capture = Capture(builder("scale")(1), BYTES[:1])
    assert not any(use.from_x for use in capture.uses)
    block, _ = capture.all_gradients(BYTES[:4], Y[:4], target_cotangents(TASK))
    expected, _ = Capture(builder()(1), FLOATS[:1]).all_gradients(FLOATS[:4], Y[:4], target_cotangents(TASK))
    same(block.inner(block), expected.inner(expected))


def test_preprocessing_by_a_module_trains_none_of_its_parameters():
    model = builder("centred")(0)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    same(model(BYTES), builder()(0)(FLOATS - 0.5))


def test_the_model_is_given_numbers_of_its_own_type():
    model = builder("scale", Precision.float64)(0)
    assert model(BYTES).dtype == torch.float64


def check(preprocess):
    return check_setting(Subject("lab", builder(preprocess), arrays(BYTES), TASK, RECIPE))


@pytest.mark.parametrize("preprocess", ["scale", "plain", "centred"])
def test_the_check_accepts_functions_of_each_example(preprocess):
    assert check(preprocess) == {}


@pytest.mark.parametrize(
    "preprocess, message",
    [
        ("kept", "preprocess returns torch.uint8; return floating point numbers, for example x.float()"),
        ("random", "preprocess is random: two calls on the same examples differ; use 'augment'"),
        ("batch", "preprocess gives an example other values alone than in a batch"),
        ("fewer", r"preprocess returns \(7, 6\) for 8 examples; return one row per example"),
        ("in_place", "preprocess changes its input in place; let it work on a copy"),
        ("fails", r"preprocess fails on examples of shape \(6,\) and torch.uint8: "),
        (
            "no_function",
            "preprocess factory 'lab_preprocess:no_function' must be a function of the inputs, or return one, not a int",
        ),
    ],
)
def test_the_check_refuses_what_does_not_treat_each_example_alone(preprocess, message):
    with pytest.raises(UserError, match=message) as error:
        check(preprocess)
    assert "\n" not in str(error.value)


def test_the_check_names_the_missing_preprocessing():
    with pytest.raises(
        UserError, match=r"cannot process examples of shape \(6,\) and torch.uint8: .*'preprocess'"
    ):
        check(None)


@pytest.mark.parametrize("positional", [True, False], ids=["tuple", "dictionary"])
def test_several_inputs_are_given_as_the_model_takes_them(positional):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.pixels, self.table = nn.Linear(6, 3), nn.Linear(2, 3)

        def forward(self, x0, x1):
            return self.pixels(x0) + self.table(x1)

    def prepared(x0, x1):
        return (x0.float() / 255, x1) if positional else {"x0": x0.float() / 255, "x1": x1}

    model, table = Two(), torch.randn(48, 2, generator=G)
    expected = model(FLOATS, table)
    put_in_front(model, Preprocess(prepared, Precision.float32))
    rows = NamedRows({"x0": BYTES, "x1": table}, positional=positional)
    same(outputs_of(model, rows), expected)
    same(vmap(lambda one: outputs_of(model, one[None])[0])(rows), expected)
    refuse_preprocess(Subject("lab", lambda _: model, Arrays(rows, Y, rows, Y), TASK, RECIPE), model)


def test_inputs_may_be_keywords_only():
    config = FactoryConfig("lab_preprocess:by_name", {"by": 100})
    model = build_model(ModelSpec(NET, preprocess=config), 0)
    plain = build_model(ModelSpec(NET), 0)
    same(outputs_of(model, NamedRows({"image": BYTES})), plain(BYTES.float() / 100))
