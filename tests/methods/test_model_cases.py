"""Every method equals a dense oracle on every kind of layer, task and input, from training to scores, in float64."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from methods.model_cases import CASES, N_TRAIN, Case
from oracles.dense_model import DenseModel, outputs_of
from oracles.influence import dense_influence
from oracles.representer import last_layer
from oracles.training import train_alone
from oracles.trak import ensemble, kernel
from oracles.unrolling import Part, by_segments, differences
from proponent.attribution.scoring import Scorer, accepted
from proponent.errors import UserError
from proponent.features.member_features import (
    featurize,
    read_gradients,
    read_outputs,
    read_representations,
)
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.settings.model_preparation import prepare_model
from proponent.training.checkpoint_steps import checkpoint_steps
from proponent.training.designs import member_run
from proponent.training.lockstep import train
from proponent.training.recipe import learning_rates
from proponent.training.replay import Replay
from proponent.training.stack import state_dict
from proponent.training.stages import stages_of

MEMBERS = 2
READERS: dict[str, Callable[..., Any]] = {
    "gradients": read_gradients,
    "representations": read_representations,
}


class Problem:
    """A case, trained by the engines and by an ordinary loop."""

    def __init__(self, case: Case) -> None:
        self.case, self.task, self.data = case, case.get_task(), case.data()
        self.loss_task, self.loss_data = self.data.weighted(self.task)
        self.runs = [member_run(0, member) for member in range(MEMBERS)]
        stages = stages_of(case.recipe, self.runs[0], N_TRAIN)
        total = stages[-1].stop
        self.steps = [*checkpoint_steps(total, 2), total]
        rates = learning_rates(case.recipe, stages)
        sums = [float(rates[:step].double().sum()) / (1 - case.recipe.momentum) for step in self.steps]
        self.times = CheckpointTimes(self.steps, [float(rates[step - 1]) for step in self.steps], sums)

    @cached_property
    def trained(self) -> Any:
        """The members, trained in lockstep."""
        data, case = self.loss_data, self.case
        return train(
            case.build,
            data.x_train,
            data.y_train,
            self.loss_task,
            case.recipe,
            self.runs,
            checkpoints=self.steps[:-1],
            augment=case.augment,
        )

    def state(self, member: int, index: int) -> dict[str, Tensor]:
        """Return the state dict of a member's checkpoint."""
        is_final = index == len(self.steps) - 1
        tensors = self.trained.state if is_final else self.trained.checkpoints[self.steps[index]]
        return state_dict(self.trained.template, tensors, member)

    @cached_property
    def models(self) -> list[list[DenseModel]]:
        """For each member its checkpoints, trained by an ordinary loop, with dense derivatives."""
        found = []
        for run in self.runs:
            weighted = run
            if self.data.weight_train is not None:
                weighted = replace(run, mask=self.data.weight_train.double(), by_weight=True)
            final, saved, _ = train_alone(
                self.case.build,
                self.data.x_train,
                self.data.y_train,
                self.case.recipe,
                weighted,
                self.steps[:-1],
                loss=self.task.loss,
                augment=self.case.augment,
            )
            states = [*saved.values(), final.state_dict()]
            modules = [self.case.build(run.init_seed) for _ in states]
            for module, state in zip(modules, states, strict=True):
                module.load_state_dict(state)
            found.append([DenseModel(module, self.task, self.data) for module in modules])
        return found

    def network(self, member: int) -> Any:
        """Return a member's curvature along its training."""
        reader = NetworkReader(
            prepare_model(self.case.build(0)),
            lambda index: self.state(member, index),
            self.loss_task,
            self.loss_data,
            member,
            self.times,
            weight_decay=self.case.recipe.weight_decay,
            memory_mib=1000,
        )
        return reader.network()

    @cache  # noqa: B019 - a problem lives as long as its test
    def need(self, name: str, member: int) -> Any:
        """Return a need of a method by its name."""
        case = self.case
        if name == "data":
            return self.data
        if name == "network":
            return self.network(member)
        if name == "replay":
            run = self.runs[member]
            return Replay(
                case.build, self.loss_task, case.recipe, run, self.loss_data, member, augment=case.augment
            )
        tensors, description = featurize(
            name,
            prepare_model(case.build(0)),
            lambda index: self.state(member, index),
            len(self.steps),
            self.loss_task,
            self.loss_data,
            memory_mib=1000,
        )
        if name == "outputs":
            return read_outputs(tensors.__getitem__, member, self.times)
        return READERS[name](description, tensors.__getitem__, self.data, member, self.times)

    def results(self, module: ModuleType, params: dict[str, Any], members: int) -> dict[str, Any]:
        """Return the results of a method, called and averaged as the attribution step does."""
        arguments = inspect.signature(module.attribute).parameters.values()
        names = [item.name for item in arguments if item.kind is item.POSITIONAL_OR_KEYWORD]
        needs = (
            {name: self.need(name, member) for name in names if name != "workspace"}
            for member in range(members)
        )
        return accepted(Scorer(module, module.attribute).score([params], needs)[0])


# ---------------------------------------------------------------- oracles, by method


def losses(problem: Problem, model: DenseModel) -> Tensor:
    """Return the gradients of the losses as the task declares them: those of the bases, times the loss weights."""
    if not problem.case.approximate:
        return model.losses
    return -weights(problem, model)[:, None] * model.bases


def weights(problem: Problem, model: DenseModel) -> Tensor:
    """Return the loss weights, (n_train,)."""
    if not problem.case.approximate:
        return model.loss_weights
    with torch.no_grad():
        return problem.task.loss_weight(outputs_of(model.module, model.data.x_train), model.data.y_train)


def graddot(problem: Problem, members: int) -> Tensor:
    finals = [path[-1] for path in problem.models[:members]]
    return torch.stack([-model.queries @ losses(problem, model).T for model in finals]).mean(0)


def tracin(problem: Problem, members: int) -> Tensor:
    total = torch.zeros(())
    for path in problem.models[:members]:
        before = 0.0
        for model, duration in zip(path, problem.times.durations, strict=True):
            step = -model.queries @ losses(problem, model).T * (duration - before) / N_TRAIN
            total, before = total + step / members, duration
    return total


def influence(problem: Problem, members: int) -> Tensor:
    shift = problem.case.recipe.weight_decay + 1.0 / problem.times.durations[-1]
    finals = [path[-1] for path in problem.models[:members]]
    found = [dense_influence(m.queries, losses(problem, m), m.ggn, shift) for m in finals]
    return torch.stack(found).mean(0)


def trak(problem: Problem, members: int) -> Tensor:
    finals = [path[-1] for path in problem.models[:members]]
    ones = torch.ones(N_TRAIN, dtype=torch.float64)
    kernels = [kernel(model.bases, model.queries, ones, 1.0) for model in finals]
    return ensemble(kernels, [weights(problem, model) for model in finals])


@dataclass
class Eigenbasis:
    """The Kronecker eigenbasis of a member, whose eigenvalues are compared with the dense GGN."""

    problem: Problem
    mixture: list[float]
    """Weight of each checkpoint."""

    def __post_init__(self) -> None:
        network, path = self.problem.network(0), self.problem.models[0]
        basis = network.kronecker(self.mixture, 0, 0)
        unit = torch.eye(len(basis.eigenvalues), dtype=torch.float64)
        vectors = basis.from_eigenbasis(unit)
        order = path[-1].columns(list(network.at(1.0).train.parameters))
        self.vectors = torch.zeros(len(unit), len(path[-1].ggn), dtype=torch.float64)
        self.vectors[:, order] = vectors
        torch.testing.assert_close(self.vectors @ self.vectors.T, unit)
        ggn = sum(weight * model.ggn for weight, model in zip(self.mixture, path, strict=True))
        self.values = (self.vectors @ ggn @ self.vectors.T).diagonal()
        torch.testing.assert_close(basis.eigenvalues, self.values)
        self.spans = basis.spans


def ekfac(problem: Problem, members: int) -> Tensor:
    model = problem.models[0][-1]
    basis = Eigenbasis(problem, [0.0] * (len(problem.steps) - 1) + [1.0])
    damped = basis.values + problem.case.recipe.weight_decay
    for span in basis.spans:
        damped[span] += basis.values[span].mean()
    queries, examples = (rows @ basis.vectors.T for rows in (model.queries, losses(problem, model)))
    return -(queries / damped) @ examples.T / N_TRAIN


def source(problem: Problem, members: int) -> Tensor:
    """Return the scores of two segments, each with the mean of the checkpoints that overlap with it."""
    path, durations = problem.models[0], problem.times.durations
    length = durations[-1] / 2
    parts = []
    for low in (0.0, length):
        overlaps = [
            max(0.0, min(stop, low + length) - max(start, low))
            for start, stop in zip([0.0, *durations[:-1]], durations, strict=True)
        ]
        mixture = [overlap / sum(overlaps) for overlap in overlaps]
        basis = Eigenbasis(problem, mixture)
        curvature = basis.vectors.T @ torch.diag(basis.values) @ basis.vectors
        curvature += problem.case.recipe.weight_decay * torch.eye(len(curvature), dtype=torch.float64)
        mean = sum(share * losses(problem, model) for share, model in zip(mixture, path, strict=True))
        parts.append(Part(slice(0, N_TRAIN), length, curvature, mean))
    return by_segments(path[-1].queries, parts, N_TRAIN)


def magic(problem: Problem, members: int) -> Tensor:
    case = problem.case
    return differences(
        case.build, problem.data, case.recipe, problem.runs[0], problem.task, augment=case.augment
    )


def rps(problem: Problem, members: int) -> Tensor:
    lam, (train_rows, query_rows) = 0.01, with_bias(problem)
    y, y_query = problem.data.y_train, problem.data.y_query
    layer = torch.from_numpy(last_layer(train_rows.numpy(), y.numpy(), lam))
    errors = torch.nn.functional.one_hot(y).double() - (train_rows @ layer).softmax(1)
    return errors[:, y_query].T * (query_rows @ train_rows.T) / (2 * lam * N_TRAIN)


def dualda(problem: Problem, members: int) -> Tensor:
    """Return the logits of the labels of the queries by scikit-learn's SVM, to which the scores add up."""
    train_rows, query_rows = (rows.numpy() for rows in with_bias(problem))
    bound = 0.1 / float((train_rows**2).sum(1).mean())
    machine = LinearSVC(
        multi_class="crammer_singer",
        C=bound,
        fit_intercept=False,
        tol=1e-7,
        max_iter=100_000,
        random_state=0,
    )
    logits = query_rows @ machine.fit(train_rows, problem.data.y_train.numpy()).coef_.T
    return torch.from_numpy(np.take_along_axis(logits, problem.data.y_query.numpy()[:, None], 1))


def with_bias(problem: Problem) -> list[Tensor]:
    """Return the representations of training examples and queries with a column of ones."""
    return [
        torch.cat([rows, rows.new_ones(len(rows), 1)], 1) for rows in problem.models[0][-1].representations
    ]


@dataclass(frozen=True)
class Method:
    """A method, its hyper-parameters, and the oracle of its scores."""

    module: str
    oracle: Callable[[Problem, int], Tensor]
    params: dict[str, Any]
    members: int = 1
    tolerance: float = 1e-7
    sums: bool = False
    """Whether the oracle gives the sums of the scores over the training examples, (n_query, 1)."""


METHODS = {
    "graddot": Method("gradient_similarity.graddot", graddot, {}, MEMBERS),
    "tracin": Method("gradient_similarity.tracin", tracin, {}, MEMBERS),
    "trak": Method("trak.trak", trak, {}, MEMBERS),
    "if-exact": Method("influence.if_exact", influence, {}, MEMBERS),
    "if-cg": Method("influence.if_cg", influence, {"tolerance": 1e-10, "iterations": 200}, tolerance=1e-6),
    "ekfac": Method("influence.ekfac", ekfac, {}),
    "source": Method("unrolling.source", source, {"segments": 2}),
    "magic": Method("unrolling.magic", magic, {}, tolerance=1e-5),
    "rps": Method("representer.rps", rps, {"regularisation": 0.01}, tolerance=1e-4),
    "dualda": Method("representer.dualda", dualda, {}, tolerance=1e-3, sums=True),
}


def compared(problem: Problem) -> Iterator[str]:
    """Yield the methods whose scores are not those of their oracle, with the difference."""
    for name, method in METHODS.items():
        module = importlib.import_module(f"proponent.methods.{method.module}")
        if problem.task.name not in getattr(module, "TASKS", (problem.task.name,)):
            continue
        if name in problem.case.left_out:
            continue
        if problem.case.recipe.optimizer not in getattr(
            module, "OPTIMIZERS", (problem.case.recipe.optimizer,)
        ):
            continue
        if name in problem.case.refused:
            with pytest.raises(UserError, match=problem.case.refused[name]):
                problem.results(module, method.params, method.members)
            continue
        results = problem.results(module, method.params, method.members)
        found = results["scores"].sum(1, keepdim=True) if method.sums else results["scores"]
        expected = method.oracle(problem, method.members)
        scale = float(results["scores"].abs().sum(1).max() if method.sums else expected.abs().max())
        error = float((found - expected).abs().max())
        if not (scale > 0 and error <= method.tolerance * scale):
            yield f"{name} differs by {error:.2g}, and the largest score is {scale:.2g}"


def differently_trained(problem: Problem) -> Iterator[str]:
    """Yield the checkpoints at which training in lockstep and ordinary training differ."""
    for member, path in enumerate(problem.models):
        for index, model in enumerate(path):
            found, expected = problem.state(member, index), model.module.state_dict()
            error = max(float((found[name] - expected[name]).abs().max()) for name in expected)
            if not error <= 1e-10:
                yield f"member {member} differs by {error:.2g} after {problem.steps[index]} steps"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_trainings_and_scores_are_those_of_the_oracles(name: str) -> None:
    for package in CASES[name].packages:
        pytest.importorskip(package)
    problem = Problem(CASES[name])
    assert not [*differently_trained(problem), *compared(problem)]
