"""Small members on which careless formulas divide by rounding errors, in float32 and float64, with all needs of methods."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from methods.array_data import as_arrays
from proponent.attribution.averaging import average
from proponent.attribution.stored_values import clear_unresolved_rows
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.views import CheckpointTimes, GradientPair, History, Network
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification
from proponent.training.designs import Run
from proponent.training.replay import Replay

N, WIDTH, CLASSES, QUERIES = 24, 6, 3, 4
TASK = Classification()


class Net(nn.Module):
    """Two layers, of which the first one gives the representation."""

    def __init__(self, dtype: torch.dtype, bias: bool = True, linear: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.last = nn.Linear(4, WIDTH, bias), nn.Linear(WIDTH, CLASSES, bias)
        self.linear = linear
        self.to(dtype)

    def represent(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        return hidden if self.linear else torch.relu(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.represent(x))


class Silent(Net):
    """A network whose outputs are all behind dead units: no parameter has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x) - 1e6)


@dataclass(eq=False)
class Pair:
    """Values for training examples and queries."""

    train: Tensor
    query: Tensor


@dataclass(eq=False)
class Retrainings:
    """Masks and targets of retrainings."""

    masks: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Case:
    """A member and its data."""

    module: nn.Module
    data: Arrays
    targets: Tensor
    """Targets of retrainings (m, n_query)."""


def plain(dtype: torch.dtype, n: int = N) -> Case:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % CLASSES
    x = 2 * torch.randn(CLASSES, 4, generator=generator)[y] + torch.randn(n, 4, generator=generator)
    y_query = torch.arange(QUERIES) % CLASSES
    x_query = torch.randn(QUERIES, 4, generator=generator)
    x_query[0], y_query[0] = x[0], y[0]
    effects = torch.randn(n, QUERIES, generator=generator, dtype=torch.float64)
    targets = (masks(n).double() @ effects).float().to(dtype)
    return Case(Net(dtype), Arrays(x.to(dtype), y, x_query.to(dtype), y_query), targets)


def masks(n: int, m: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(m, n, generator=generator).argsort(1) < n // 2


def changed(case: Case, **fields: Tensor) -> Case:
    return Case(case.module, case.data._replace(**fields), case.targets)


def dead_units(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    with torch.no_grad():
        case.module.first.bias.fill_(-1e3)
    return case


def silent(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    return Case(Silent(dtype), case.data, case.targets)


def saturated(dtype: torch.dtype, factor: float = 40.0) -> Case:
    """Every example is predicted with certainty: a linear model of clusters, scaled up."""
    case = plain(dtype)
    centres = torch.eye(CLASSES, 4, dtype=dtype)
    module = Net(dtype, linear=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.first.weight[:CLASSES, :CLASSES] = torch.eye(CLASSES, dtype=dtype)
        module.last.weight[:, :CLASSES] = factor * torch.eye(CLASSES, dtype=dtype)
    generator = torch.Generator().manual_seed(5)
    moved = [
        centres[labels] + 0.05 * torch.randn(len(labels), 4, generator=generator).to(dtype)
        for labels in (case.data.y_train, case.data.y_query)
    ]
    return Case(module, case.data._replace(x_train=moved[0], x_query=moved[1]), case.targets)


def duplicates(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    rows = torch.arange(N) % 6
    return changed(case, x_train=case.data.x_train[rows], y_train=case.data.y_train[rows])


def equal_inputs(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    return changed(
        case, x_train=torch.ones_like(case.data.x_train), x_query=torch.ones_like(case.data.x_query)
    )


def zero_inputs(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    return changed(
        case, x_train=torch.zeros_like(case.data.x_train), x_query=torch.zeros_like(case.data.x_query)
    )


def one_class(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    return changed(case, y_train=torch.zeros_like(case.data.y_train), y_query=case.data.y_query * 0)


def unknown_class(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    return changed(case, y_train=case.data.y_train % 2, y_query=torch.tensor([0, 2, 1, 2]))


def few_examples(dtype: torch.dtype) -> Case:
    return plain(dtype, n=3)


def scaled(dtype: torch.dtype, factor: float) -> Case:
    """Gradients that are ``factor`` times as large: a linear model without bias."""
    case = plain(dtype)
    data = case.data._replace(x_train=case.data.x_train * factor, x_query=case.data.x_query * factor)
    return Case(Net(dtype, bias=False, linear=True), data, case.targets)


def constant_targets(dtype: torch.dtype) -> Case:
    case = plain(dtype)
    noise = 1e-7 * torch.randn(case.targets.shape, generator=torch.Generator().manual_seed(2))
    return Case(case.module, case.data, (5 + noise).to(dtype))


CASES: dict[str, Callable[[torch.dtype], Case]] = {
    "plain": plain,
    "dead units": dead_units,
    "no gradient": silent,
    "saturated": saturated,
    "beyond float32": lambda dtype: saturated(dtype, 300),
    "duplicates": duplicates,
    "equal inputs": equal_inputs,
    "zero inputs": zero_inputs,
    "one class": one_class,
    "unknown class": unknown_class,
    "few examples": few_examples,
    "gradients of 1e-20": lambda dtype: scaled(dtype, 1e-20),
    "gradients of 1e20": lambda dtype: scaled(dtype, 1e20),
    "constant targets": constant_targets,
}


@cache
def needs_of(name: str, dtype: torch.dtype) -> dict[str, object]:
    """Return all needs of methods by name."""
    case = CASES[name](dtype)
    module, data = case.module, case.data
    curvature = Curvature(module, TASK, *data, weight_decay=0.0, duration=5.0)
    weight = curvature.loss_weight
    pair = GradientPair(curvature.train, curvature.query, weight, weight * (1 - weight), 0.1, 5.0)
    with torch.no_grad():
        represented = Pair(module.represent(data.x_train), module.represent(data.x_query))
        outputs = Pair(module(data.x_train), module(data.x_query))
    times = CheckpointTimes([50], [0.1], [5.0])
    n, orders = len(data.y_train), 30
    places = torch.rand(orders, n, generator=torch.Generator().manual_seed(4)).argsort(1).argsort(1)
    prefixes = places[:, None] < (torch.arange(1, 4) * n // 3)[:, None]
    sums = prefixes.double() @ torch.randn(n, QUERIES, generator=torch.Generator().manual_seed(6)).double()
    if name == "constant targets":
        sums = 5 + 1e-8 * sums
    with torch.no_grad():
        dot = curvature.query.inner(curvature.train) * curvature.loss_weight
        stored = [
            clear_unresolved_rows(own.float().nan_to_num(0, 0, 0).numpy()) for own in (dot, dot.square())
        ]
        first, second = (torch.from_numpy(own).to(dtype) for own in stored)
    return {
        "data": SimpleNamespace(**data._asdict()),
        "gradients": History(0, times, lambda _: pair),
        "network": Network(0, times, lambda _: curvature, lambda _: curvature),
        "representations": History(0, times, lambda _: represented),
        "outputs": History(0, times, lambda _: outputs),
        "retrainings": Retrainings(masks(n), case.targets),
        "permutations": Retrainings(prefixes, sums.to(dtype)),
        "scores": {"first": first, "second": second, "third": torch.ones_like(first)},
    }


@cache
def replay_of(name: str, dtype: torch.dtype) -> Replay:
    """Return the training that starts at the member."""
    case = CASES[name](dtype)
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=8)
    return Replay(lambda _: copy.deepcopy(case.module), TASK, recipe, Run(1, 2), case.data)


def inputs_of(module: ModuleType, function: str, name: str, dtype: torch.dtype) -> dict[str, object]:
    """Return the needs of a method's function by name, without its workspace."""
    arguments = inspect.signature(getattr(module, function)).parameters.values()
    names = [item.name for item in arguments if item.kind is item.POSITIONAL_OR_KEYWORD]
    names = names[1:] if function == "finish" else names  # its first argument is the combined scores
    needs = needs_of(name, dtype)
    found = {
        need: replay_of(name, dtype) if need == "replay" else needs[need]
        for need in names
        if need != "workspace"
    }
    if "data" in found and getattr(module, "ARRAYS", None) == "numpy":
        found["data"] = as_arrays(found["data"])
    return found


def scores_of(
    module: ModuleType,
    params: dict[str, object],
    name: str,
    dtype: torch.dtype,
    function: str = "attribute",
) -> Tensor | UserError:
    """Return a method's scores, or its self-influence, as the attribution step computes them, or its refusal."""
    (mean,) = average(getattr(module, function), [params], [inputs_of(module, function, name, dtype)])
    if isinstance(mean, UserError):
        return mean
    scores = mean.scores()
    if function == "attribute" and hasattr(module, "finish"):
        scores = module.finish(scores, **inputs_of(module, "finish", name, dtype))
    scores = torch.as_tensor(np.asarray(scores)).double()
    if not scores.isfinite().all():  # refused by proponent.attribution.stored_values.check_values
        return UserError("configs/methods/x.yaml: NaN or infinite")
    return scores
