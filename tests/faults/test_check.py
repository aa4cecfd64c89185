"""Faults of models, found by the self-check of a setting before anything is trained."""

from __future__ import annotations

import collections
import functools
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from proponent.config.benchmark import load_benchmark
from proponent.config.design_schema import DesignConfig, DesignKind
from proponent.config.recipe_schema import RecipeConfig
from proponent.config.specifications.method_uses import TRIED, uses_of
from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.self_check.batch_sizes import batch_sizes
from proponent.self_check.check_setting import check_setting
from proponent.self_check.subject import Subject
from proponent.self_check.training_memory import refuse_training_memory
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task

REPOSITORY = Path(__file__).parents[2]
G = torch.Generator().manual_seed(0)
Y = torch.arange(70) % 3
X = 2 * torch.randn(3, 6, generator=G)[Y] + torch.randn(70, 6, generator=G)
RECIPE = RecipeConfig(lr=0.1, epochs=2, batch_size=32)


class Fn(nn.Module):
    """A model whose forward pass is a function of itself and x."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def net():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def check(make, x=X, y=Y, recipe=RECIPE, task="classification", uses=(), **designs):
    """Run the self-check on a model factory that a setting would name."""

    def build(seed):
        with seeded(seed):
            return make()

    data = Arrays(x[:60], y[:60], x[60:], y[60:])
    return check_setting(Subject("lab", build, data, get_task(task), recipe, designs), uses)


def refused(make, match, **options):
    with pytest.raises(UserError, match=match) as error:
        check(make, **options)
    message = str(error.value)
    assert message.startswith(("configs/settings/lab.yaml: ", "setting lab: "))
    assert "\n" not in message
    assert "lower recipe.lr" not in message


# --- models that are accepted -----------------------------------------------------------------------------------------

ACCEPTED = {
    "linear": lambda: nn.Linear(6, 3),
    "mlp": net,
    "dropout": lambda: nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3)),
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(6, 8)), nn.Linear(8, 3)
    ),
    "log-probabilities": lambda: nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(-1)),
    "relu at the end": lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 3)),
    "zero head": lambda: _zero_head(),
    "fixed tensor": lambda: Fn(lambda s, x: s.a(x + s.shift), a=nn.Linear(6, 3), shift=torch.arange(6.0)),
    "buffer": lambda: _with_buffer(),
}


def _zero_head():
    model = net()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    return model


def _with_buffer():
    model = Fn(lambda s, x: s.a(x @ s.b), a=nn.Linear(8, 3))
    model.register_buffer("b", torch.randn(6, 8))
    return model


@pytest.mark.parametrize("name", ACCEPTED)
def test_ordinary_models_are_accepted(name):
    assert (
        check(ACCEPTED[name], uses=("gradients", "outputs", "network.ggn_product"), subsets=DesignConfig())
        == {}
    )


def test_an_ordinary_model_allows_everything():
    assert check(net, uses=TRIED) == {}


def test_regression_may_end_in_a_sigmoid():
    y = torch.rand(70, 1, generator=G)
    assert check(lambda: nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()), y=y, task="regression") == {}


@pytest.mark.parametrize("task", ["binary", "multi-label"])
def test_a_sigmoid_is_refused_where_the_task_applies_it(task):
    y = (torch.arange(70) % 2)[:, None]
    with pytest.raises(
        UserError, match=r"outputs look like probabilities \(all in \[0, 1\].*return its inputs"
    ):
        check(
            lambda: nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()),
            y=y[:, 0] if task == "binary" else y,
            task=task,
        )


# --- state outside the state dict -------------------------------------------------------------------------------------


def _fourier(draw):
    """Random Fourier features whose matrix is wherever ``draw`` hides it; it returns a function that gives the matrix."""

    def make():
        model = Fn(
            lambda s, x: s.head(torch.cat([(x @ s.b()).sin(), (x @ s.b()).cos()], -1)), head=nn.Linear(64, 3)
        )
        return draw(model)

    return make


def _matrix():
    return 0.7 * torch.randn(6, 32)


def _attribute(model):
    model.kept = _matrix()
    model.b = lambda: model.kept
    return model


def _closure(model):
    hidden = _matrix()
    model.b = lambda: hidden
    return model


def _list(model):
    model.parts = [{"b": (_matrix(),)}]
    model.b = lambda: model.parts[0]["b"][0]
    return model


def _partial(model):
    model.b = functools.partial(torch.clone, _matrix())
    return model


class _Holder:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def _object(model):
    model.holder = _Holder(_matrix())
    model.b = lambda: model.holder.value
    return model


def _array(model):
    model.array = np.random.rand(6, 32).astype(np.float32)  # noqa: NPY002
    model.b = lambda: torch.from_numpy(model.array)
    return model


def _number(model):
    model.scale = random.random()  # noqa: S311
    model.b = lambda: model.scale * torch.arange(192.0).reshape(6, 32).cos()
    return model


def _default(model):
    def b(value=_matrix()):  # noqa: B008
        return value

    model.b = b
    return model


def _seed(model):
    model.own = int(torch.randint(1000, ()))
    model.b = lambda: torch.randn(6, 32, generator=torch.Generator().manual_seed(model.own))
    return model


def _hook(model):
    noise = torch.randn(3)
    model.b = lambda: torch.ones(6, 32)
    model.register_forward_hook(lambda module, inputs, outputs: outputs + noise)
    return model


def _deque(model):
    model.parts = collections.deque([_matrix()])
    model.b = lambda: model.parts[0]
    return model


def _class(model):
    class Layer:
        def __init__(self):
            self.b = _matrix()

    model.layer = Layer()
    model.b = lambda: model.layer.b
    return model


def _class_attribute(model):
    class Layer:
        b = _matrix()

    model.b = lambda layer=Layer: layer.b
    return model


DISGUISES = {
    "attribute": (_attribute, "'kept'"),
    "closure": (_closure, "'b.hidden'"),
    "list": (_list, r"'parts.0.b.0'"),
    "partial": (_partial, r"'b.args.0'"),
    "object with slots": (_object, "'holder.value'"),
    "numpy array": (_array, "'array'"),
    "number": (_number, "'scale'"),
    "default": (_default, "'b.defaults.0'"),
    "seed": (_seed, "'own'"),
    "hook": (_hook, r"'hooks.0.noise'"),
    "deque": (_deque, r"'parts.0'"),
    "class defined anew": (_class, r"'layer.b'"),
    "class attribute": (_class_attribute, "outside the model's attributes"),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_random_tensor_as_plain_attribute(name):
    hide, where = DISGUISES[name]
    refused(_fourier(hide), f"{where}.*register_buffer")


def test_random_tensor_as_plain_attribute_of_an_inner_layer():
    def make():
        inner = Fn(lambda s, x: x @ s.mix, linear=nn.Linear(6, 6), mix=torch.randn(6, 6))
        return nn.Sequential(inner, nn.Linear(6, 3))

    refused(make, "the model's '0.mix' is not part of its state dict but differs between seeds")


def test_random_tensor_as_plain_attribute_in_a_buffer_that_is_not_saved():
    def make():
        model = Fn(lambda s, x: s.a(x @ s.b), a=nn.Linear(8, 3))
        model.register_buffer("b", torch.randn(6, 8), persistent=False)
        return model

    refused(make, "buffer 'b' depends on the seed but is not saved; register it with persistent=True")


def test_random_tensor_as_plain_attribute_in_a_registry_of_the_last_model():
    registry = {}

    def make():
        registry["b"] = torch.randn(6, 6)
        return Fn(lambda s, x: s.a(x @ registry["b"]), a=nn.Linear(6, 3))

    refused(make, "building a second model changes the outputs of the first one|not part of its state dict")


def test_random_tensor_as_plain_attribute_in_a_registry_of_the_first_model():
    registry = {}

    def make():
        matrix = registry.setdefault("b", torch.randn(6, 6))
        return Fn(lambda s, x: s.a(x @ matrix), a=nn.Linear(6, 3))

    refused(make, "gives other outputs in another process after loading the same state dict")


def test_random_tensor_as_plain_attribute_made_in_the_first_pass_of_a_process():
    registry = {}

    def forward(s, x):
        return s.a(x @ registry.setdefault("b", torch.randn(6, 6)))

    refused(lambda: Fn(forward, a=nn.Linear(6, 3)), "random|in another process")


def test_random_tensor_as_plain_attribute_as_the_probability_of_dropout():
    refused(
        lambda: nn.Sequential(nn.Linear(6, 16), nn.Dropout(random.random()), nn.Linear(16, 3)),  # noqa: S311
        r"'1.p' is not part of its state dict",
    )


def test_random_choice_of_trained_parameters():
    def make():
        model = net()
        model[int(torch.randint(2, ())) * 2].requires_grad_(False)
        return model

    refused(make, "trains other parameters for another seed|another architecture|trainable")


def test_random_initialisation_by_an_unseeded_generator():
    def make():
        model = net()
        with torch.no_grad():
            model[0].weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=(16, 6))))
        return model

    refused(make, "gives another '0.weight' for the same seed")


# --- passes -----------------------------------------------------------------------------------------------------------

PASSES = {
    "batch_mixing_found_late-statistics by hand": (
        lambda: Fn(lambda s, x: s.b((h := s.a(x)) - h.mean(0)), a=nn.Linear(6, 16), b=nn.Linear(16, 3)),
        "mixes the examples of a batch",
    ),
    "batch_mixing_found_late-in training mode only": (
        lambda: Fn(lambda s, x: s.a(x - x.mean(0) if s.training else x), a=nn.Linear(6, 3)),
        "in training mode, .* mixes the examples of a batch",
    ),
    "batch_mixing_found_late-in-batch similarities": (
        lambda: Fn(lambda s, x: F.pad((h := s.a(x)) @ h.T, (0, 70 - len(x))), a=nn.Linear(6, 16)),
        "mixes the examples of a batch",
    ),
    "batch_mixing_found_late-attention over the batch": (
        lambda: Fn(lambda s, x: s.b(torch.softmax(x @ x.T, -1) @ x), b=nn.Linear(6, 3)),
        "mixes the examples of a batch",
    ),
    "batch_mixing_found_late--inf logits": (
        lambda: Fn(lambda s, x: s.a(x) + torch.tensor([0.0, 0.0, -torch.inf]), a=nn.Linear(6, 3)),
        "gives -inf for .*before any training.*-1e4",
    ),
    "nan_from_the_start": (
        lambda: Fn(lambda s, x: s.a(x.log()), a=nn.Linear(6, 3)),
        r"gives NaN for .*\(before any training\)",
    ),
    "nan_from_the_start-in the gradient": (
        lambda: Fn(
            lambda s, x: (s.a(x) * 0.0).square().sum(-1, keepdim=True).sqrt() + s.a(x), a=nn.Linear(6, 3)
        ),
        "the gradient of training example 0 is not finite before any training",
    ),
    "changes its input": (
        lambda: Fn(lambda s, x: s.a(x.add_(1.0)), a=nn.Linear(6, 3)),
        "changes its input in place",
    ),
    "random_branch_in_forward-python": (
        lambda: Fn(lambda s, x: s.a(x) * (1 if random.random() > 0.5 else 2), a=nn.Linear(6, 3)),  # noqa: S311
        "random",
    ),
    "random_branch_in_forward-numpy, rarely": (
        lambda: Fn(lambda s, x: s.a(x) * (1 if np.random.rand() > 0.1 else 2), a=nn.Linear(6, 3)),  # noqa: NPY002
        "random",
    ),
    "random_branch_in_forward-noise in training": (
        lambda: Fn(lambda s, x: s.a(x + 0.1 * torch.randn_like(x) if s.training else x), a=nn.Linear(6, 3)),
        "in training mode, .*random",
    ),
    "random_branch_in_forward-own generator": (
        lambda: Fn(lambda s, x: s.a(x * s.g.random()), a=nn.Linear(6, 3), g=np.random.default_rng(0)),
        "random|from pass to pass",
    ),
    "random_branch_in_forward-dropout in eval mode": (
        lambda: Fn(lambda s, x: s.a(F.dropout(x, 0.5)), a=nn.Linear(6, 3)),
        "random",
    ),
    "random_branch_in_forward-a number that does not matter": (
        lambda: Fn(lambda s, x: s.a(x) if torch.rand([]) >= 0 else s.a(2 * x), a=nn.Linear(6, 3)),
        "draws random numbers other than those of nn.Dropout",
    ),
    "random_branch_in_forward-a counter": (
        lambda: Fn(lambda s, x: setattr(s, "n", s.n + 1) or s.a(x) * s.n, a=nn.Linear(6, 3), n=1),
        "from pass to pass|random",
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name):
    make, match = PASSES[name]
    refused(make, match)


@pytest.mark.parametrize(
    ("row", "name"), [(17, "training example 17"), (64, "query 4")], ids=["training", "query"]
)
def test_batch_mixing_found_late_names_the_row_with_nan(row, name):
    x = X.abs() + 1
    x[row, 2] = -1.0
    refused(
        lambda: Fn(lambda s, x: s.a(x.log()), a=nn.Linear(6, 3)), f"NaN for {name} .before any training", x=x
    )


def test_nan_from_the_start_of_an_empty_row():
    tokens = torch.randint(1, 9, (70, 5), generator=G)
    tokens[33] = 0

    def make():
        return Fn(
            lambda s, x: s.h((s.e(x) * (m := (x > 0).float()[..., None])).sum(1) / m.sum(1)),
            e=nn.Embedding(9, 8),
            h=nn.Linear(8, 3),
        )

    refused(make, "NaN for training example 33 .before any training.*mean of nothing", x=tokens)


# --- batch sizes ------------------------------------------------------------------------------------------------------


def _squeezes(dim=None):
    def forward(s, x):
        h = s.c(x[:, None]).amax(-1, keepdim=True)
        return s.b(h.squeeze() if dim is None else h.squeeze(dim))

    return Fn(forward, c=nn.Conv1d(1, 8, 3), b=nn.Linear(8, 3))


def test_squeeze_of_one_row():
    refused(_squeezes, r"1 example \(.*\).*squeeze\(-1\)")
    assert check(lambda: _squeezes(-1)) == {}


def test_squeeze_of_one_row_names_where_a_batch_of_one_occurs():
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=59)
    refused(_squeezes, "the last batch of an epoch of training, 60 examples in batches of 59", recipe=recipe)
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=29)
    half = DesignConfig(fraction=0.5)
    refused(_squeezes, "of the design 'subsets', 30 examples in batches of 29", recipe=recipe, subsets=half)


def test_squeeze_of_one_row_sizes_of_all_designs_are_tried():
    data = Arrays(X[:60], Y[:60], X[60:], Y[60:])
    designs = {
        "subsets": DesignConfig(fraction=0.5),
        "permutations": DesignConfig(kind=DesignKind.permutations, fraction=0.25),
    }
    subject = Subject(
        "lab",
        lambda seed: net(),
        data,
        get_task("classification"),
        RecipeConfig(epochs=1, batch_size=32),
        designs,
    )
    assert sorted(batch_sizes(subject)) == [13, 15, 28, 30, 32]


# --- outputs ----------------------------------------------------------------------------------------------------------


def _two(x):
    return torch.cat([1 - (p := torch.sigmoid(x)), p], -1)


PROBABILITIES = {
    "softmax": (lambda: nn.Sequential(net(), nn.Softmax(-1)), "inputs of the last softmax"),
    "sigmoid": (lambda: nn.Sequential(net(), nn.Sigmoid()), "as of a sigmoid"),
    "p and 1 - p": (lambda: Fn(lambda s, x: _two(s.a(x)), a=nn.Linear(6, 1)), "the same sum"),
    "clamped": (lambda: Fn(lambda s, x: s.a(x).softmax(-1).clamp(1e-6), a=nn.Linear(6, 3)), "the same sum"),
    "scaled": (lambda: Fn(lambda s, x: 10 * s.a(x).softmax(-1), a=nn.Linear(6, 3)), "the same sum"),
    "normalised": (
        lambda: Fn(lambda s, x: F.normalize(s.a(x).exp(), p=1, dim=-1), a=nn.Linear(6, 3)),
        "the same sum",
    ),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_softmax_output(name):
    make, match = PROBABILITIES[name]
    y = Y % 2 if name == "p and 1 - p" else Y
    refused(make, f"the model's outputs look like .*{match}.*takes logits", y=y)


# --- what methods need ------------------------------------------------------------------------------------------------


class NoForwardMode(torch.autograd.Function):
    """A function whose backward derivative is known alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope


def test_magic_without_forward_ad_is_left_out_with_its_reason():
    def make():
        return Fn(lambda s, x: s.h(NoForwardMode.apply(s.a(x))), a=nn.Linear(6, 8), h=nn.Linear(8, 3))

    found = check(make, uses=TRIED)
    for use in ("replay.gradient_and_hessian_products", "network.ggn_product"):
        assert "forward mode" in found[use] or "twice" in found[use]
    assert not {"gradients", "outputs", "representations", "network"} & set(found)
    assert all("\n" not in reason for reason in found.values())


def test_what_needs_a_linear_layer_is_left_out():
    found = check(lambda: Fn(lambda s, x: x @ s.w.exp(), w=nn.Parameter(torch.randn(6, 3))), uses=TRIED)
    assert {"representations", "gradients.last", "network.adapted"} <= set(found)
    assert "no linear layer" in found["representations"]
    assert "gradients" not in found


def test_what_must_be_copied_is_left_out():
    def forward(s, x):
        s.last = s.a(x)
        return s.b(s.last)

    found = check(
        lambda: Fn(forward, a=nn.Linear(6, 8), b=nn.Linear(8, 3), lock=threading.Lock()), uses=TRIED
    )
    assert set(found) <= {"network.dropped", "network.adapted"}
    assert found


def test_methods_name_what_they_use_by_calling_it():
    methods = [
        "magic",
        "if-cg",
        "if-exact",
        "ekfac",
        "trak-lora",
        "trak-dropout",
        "tracin-last",
        "tracin",
        "random",
        "source",
    ]
    benchmark = load_benchmark(REPOSITORY, {"settings": ["digits-mlp"], "methods": methods})
    found = {name: set(uses_of(benchmark.tree, method)) for name, method in benchmark.methods.items()}
    assert found["magic"] >= {"replay", "replay.gradient_and_hessian_products"}
    assert found["if-cg"] >= {"network", "network.ggn_product"}
    assert found["if-exact"] >= {"network.ggn", "network.ggn_root"}
    assert "network.kronecker" in found["ekfac"] & found["source"]
    assert "network.adapted" in found["trak-lora"] - found["trak-dropout"]
    assert "network.dropped" in found["trak-dropout"] - found["trak-lora"]
    assert "gradients.last" in found["tracin-last"] - found["tracin"]
    assert not found["random"] & set(TRIED)


def test_memory_of_training_in_lockstep() -> None:
    """compute.memory_mib bounds trainings too: they are refused with the number that they need before the first."""

    def wide(seed: int) -> nn.Module:
        with seeded(seed):
            return nn.Sequential(nn.Linear(6, 12_000), nn.Tanh(), nn.Linear(12_000, 3))

    subject = Subject(
        "lab", wide, Arrays(X[:60], Y[:60], X[60:], Y[60:]), get_task("classification"), RECIPE, {}
    )
    jobs = [("retraining", 20, 0)]
    refuse_training_memory(subject, jobs, lockstep=20, memory_mib=140)
    with pytest.raises(
        UserError, match=r"retraining, 20 models at a time, needs [\d,]+ MiB.*compute.lockstep to \d+ in"
    ):
        refuse_training_memory(subject, jobs, lockstep=20, memory_mib=60)
    with pytest.raises(UserError, match=r"raise compute\.memory_mib"):
        refuse_training_memory(subject, jobs, lockstep=20, memory_mib=12)
