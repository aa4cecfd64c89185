"""The self-check of models that use the other examples of a batch, of last batches, and of augmentation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from faults.test_check import RECIPE, Fn, X, Y, net, refused
from faults.test_check import check as check_model
from proponent.config.design_schema import DesignConfig, DesignKind
from proponent.config.recipe_schema import LastBatch, RecipeConfig, StageConfig
from proponent.config.specifications.method_uses import TRIED
from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.self_check.check_setting import check_setting
from proponent.self_check.subject import Subject
from proponent.settings.batch_augmentation import Augment
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task

LOO = DesignConfig(kind=DesignKind.loo, count=2)


def normalised(norm=None):
    return nn.Sequential(nn.Linear(6, 8), norm or nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


# --- statistics of the batch ------------------------------------------------------------------------------------------


def test_batch_norm_is_accepted_and_only_replays_are_left_out():
    found = check_model(normalised, uses=TRIED, subsets=DesignConfig(), loo=LOO)
    assert set(found) == {"replay", "replay.gradient_and_hessian_products"}
    assert all(
        "layer '1' (BatchNorm1d) uses the statistics of the batch" in reason for reason in found.values()
    )


def test_frozen_batch_norm_is_an_affine_layer():
    class Frozen(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(mode=False)

    assert check_model(lambda: normalised(Frozen(8)), uses=TRIED) == {}


NORMS = {
    "cumulative": lambda: normalised(nn.BatchNorm1d(8, momentum=None)),
    "not affine": lambda: normalised(nn.BatchNorm1d(8, affine=False)),
    "images": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 3)
    ),
    "instances": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(), nn.Linear(6, 3)
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_with_running_statistics_are_accepted(name):
    # The running statistics of instances include those of an example that is left out by weight.
    assert check_model(NORMS[name], **({} if name == "instances" else {"loo": LOO})) == {}


def _centred(s, x):
    hidden = s.a(x)
    return s.b(hidden - hidden.mean(0))


def _in_training(s, x):
    hidden = s.a(x)
    return s.b(hidden - hidden.mean(0) if s.training else hidden)


def _by_norm(s, x):
    hidden = s.a(x)
    return s.b(hidden / hidden.norm())


def _softmax(s, x):
    return s.b(s.a(x) * s.a(x).softmax(0))


def _functional(s, x):
    return s.b(F.batch_norm(s.a(x), None, None, training=True))


def two(forward):
    return Fn(forward, a=nn.Linear(6, 8), b=nn.Linear(8, 3))


@pytest.mark.parametrize("forward", [_centred, _in_training, _by_norm, _softmax, _functional])
def test_statistics_by_hand_are_refused(forward):
    refused(lambda: two(forward), "mixes the examples of a batch|statistics of the batch")


def test_without_running_statistics_there_are_no_outputs_of_one_example():
    refused(
        lambda: normalised(nn.BatchNorm1d(8, track_running_stats=False)),
        r"layer '1' \(BatchNorm1d\) uses the statistics of the batch.*set track_running_stats=True",
    )


def test_a_lazy_norm_is_refused():
    with pytest.raises(UserError, match="has no shape before its first pass"):
        check_model(lambda: normalised(nn.LazyBatchNorm1d()))


def _moving_mean(s, x):
    hidden = s.a(x)
    if s.training:
        hidden = hidden - s.mean
        s.mean = 0.9 * s.mean + 0.1 * s.a(x).detach().mean(0)
    return s.b(hidden)


def test_a_buffer_of_batch_means_is_trained_but_cannot_leave_out_by_weight():
    def make():
        module = two(_moving_mean)
        module.register_buffer("mean", torch.zeros(8))
        return module

    assert check_model(make, subsets=DesignConfig()) == {}
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=8)
    refused(make, "depends on an example that is left out by weight", recipe=recipe, loo=LOO)


def test_a_buffer_that_changes_in_eval_mode_is_refused():
    def make():
        module = two(lambda s, x: s.b(s.a(x)) + s.calls.add_(1) * 0)
        module.register_buffer("calls", torch.zeros(()))
        return module

    refused(make, "forward pass in eval mode changes its own 'calls'")


# --- last batches -----------------------------------------------------------------------------------------------------


def test_a_last_batch_of_one_example_is_refused_before_training():
    one_left = {"lr": 0.1, "epochs": 2, "batch_size": 59}
    refused(
        normalised,
        r"1 example \(the last batch of an epoch of training, 60 examples in batches of 59\).*set recipe.last_batch",
        recipe=RecipeConfig(**one_left),
    )
    for last_batch in (LastBatch.merge, LastBatch.drop):
        assert check_model(normalised, recipe=RecipeConfig(**one_left, last_batch=last_batch)) == {}


def test_a_last_batch_of_one_example_of_a_retraining_is_refused():
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=29)
    refused(
        normalised,
        "of the design 'subsets', 30 examples in batches of 29",
        recipe=recipe,
        subsets=DesignConfig(),
    )


def test_stages_have_last_batches_of_every_size():
    stages = [StageConfig(examples=30, epochs=1), StageConfig(examples=30, epochs=1)]
    recipe = RecipeConfig(lr=0.1, batch_size=10, stages=stages)
    assert check_model(normalised, recipe=recipe) == {}
    refused(normalised, "the last batch of a stage in a retraining", recipe=recipe, subsets=DesignConfig())
    merged = RecipeConfig(lr=0.1, batch_size=10, stages=stages, last_batch=LastBatch.merge)
    assert check_model(normalised, recipe=merged, subsets=DesignConfig()) == {}


# --- augmentation -----------------------------------------------------------------------------------------------------


def check_augment(function):
    def build(seed):
        with seeded(seed):
            return net()

    data = Arrays(X[:60], Y[:60], X[60:], Y[60:])
    task = get_task("classification")
    return check_setting(Subject("lab", build, data, task, RECIPE, augment=Augment(function)), TRIED)


def noise(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_an_augmentation_is_accepted():
    assert check_augment(noise) == {}


AUGMENTATIONS = {
    "global generator": (lambda x, g: x + torch.randn(x.shape), "from another source than its generator"),
    "in place": (lambda x, g: x.add_(1.0), "changes its input in place"),
    "another shape": (lambda x, g: x[:, :5], r"rows of \(5,\).*for rows of \(6,\)"),
    "another type": (lambda x, g: noise(x, g).double(), "torch.float64 for rows of .*torch.float32"),
    "fewer rows": (lambda x, g: x[:-1], "the same number of rows"),
    "mixup": (lambda x, g: x + 0.1 * x[torch.randperm(len(x), generator=g)], "mixes the examples of a batch"),
    "batch mean": (lambda x, g: x - x.mean(0), "mixes the examples of a batch"),
    "batch minimum": (lambda x, g: x - x.amin(), "mixes the examples of a batch"),
    "an error": (lambda x, g: x.flip(-3), "augment fails on a batch of"),
    "no tensor": (lambda x, g: [x], "augment returns a list; return a tensor"),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_are_refused(name):
    function, match = AUGMENTATIONS[name]
    with pytest.raises(UserError, match=match) as error:
        check_augment(function)
    assert str(error.value).startswith("configs/settings/lab.yaml: ") and "\n" not in str(error.value)
