"""Scores of one pair of query and training example as functions of the features of one of them, for an attributor's method.

What a method computed from the training set stays as it is when an example changes: the dual variables of DualDA and
representer points, and the inverse of TRAK's kernel. TRAK's score of features x in place of the query is

    <phi(x), v_i> w_i,    v_i = (Phi^T R Phi + lambda I)^-1 phi_i = Phi^T R^1/2 (R^1/2 K R^1/2 + lambda I)^-1 R^-1/2 e_i

and in place of the training example <phi(x), v_q> w(x), with v_q by Woodbury's identity; both are derivatives along a fixed
direction of parameter space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from proponent.config.explained_methods import EXPLAINED_MODULES, OF_REPRESENTATIONS
from proponent.errors import UserError
from proponent.explanations.pair_scores import MeanScore, RepresentationKernel, Score, TangentKernel, constant
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.methods.shared.trak_kernel import ExampleSpace, fraction_of, trak_kernel
from proponent.rows import Rows, outputs_of
from proponent.settings.split import Arrays
from proponent.trained.differentiable_model import DifferentiableModel
from proponent.trained.live_member import LiveMember, Problem
from proponent.trained.method_choice import Choice, signature_of

EXPLAINED = "dualda, rps, similarity-cosine, similarity-dot, graddot and trak"


@dataclass(frozen=True)
class Side:
    """The score of a pair as a function of one of its examples.

    Attributes:
        score: function from features (m, ...) to scores (m,).
        features: (1, ...) features of the example.
        embedded: whether the features are embeddings of tokens.
        network: function that returns the score as a module of plain layers; None for other scores.
    """

    score: Score
    features: Tensor
    embedded: bool
    network: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class Pair:
    """The score of a query and a training example, from both sides."""

    query: Side
    train: Side


@dataclass(frozen=True)
class _Terms:
    """Kernel and weight per model and checkpoint, of one side of a pair."""

    model: DifferentiableModel
    kernel: Score
    weight: Score
    last: RepresentationKernel | None = None


class PairScoreBuilder:
    """Builder of the pair scores of one method.

    Args:
        choice: method with hyper-parameters.
        members: models.
        problem: training examples and task.
        labels: (n_train, ...) labels of the training examples, without weights.
        inputs: name of the input whose features are attributed; None for the only one.

    Raises:
        UserError: the pair score of the method has no differentiable closed form here.
    """

    def __init__(
        self,
        choice: Choice,
        members: Sequence[LiveMember],
        problem: Problem,
        labels: Tensor,
        inputs: str | None = None,
    ) -> None:
        self._choice, self._members, self._problem = choice, members, problem
        self._labels, self._inputs = labels, inputs
        self._family = choice.module.__name__.rpartition(".")[2]
        self._params = {**signature_of(choice.function).defaults, **choice.params}
        projected = self._params.get("projection_dim") or self._params.get("normalise")
        if choice.module.__name__ not in EXPLAINED_MODULES or choice.normalised or projected:
            raise UserError(
                f"method '{choice.name}' has no pair score that is differentiable in closed form; choose one of {EXPLAINED}"
            )

    @property
    def uses_training_set(self) -> bool:
        """Whether the score of a pair is a derivative along a sum of gradients of all training examples."""
        return self._family == "trak"

    def pair(self, x: Rows, y: Tensor, example: int) -> Pair:
        """Return the score of a query and a training example.

        Args:
            x: (1, ...) inputs of the query.
            y: (1, ...) label of the query.
            example: index of the training example.

        Raises:
            UserError: the gradients of the training set are a projection.
        """
        queries: list[_Terms] = []
        examples: list[_Terms] = []
        for member in self._members:
            for checkpoint in self._choice.config.checkpoints or [self._params.get("checkpoint", 1.0)]:
                make = self._of_representations if self._family in OF_REPRESENTATIONS else self._of_gradients
                query, train = make(member, checkpoint, x, y, example)
                queries.append(query)
                examples.append(train)
        return Pair(self._side(queries), self._side(examples))

    def _side(self, terms: Sequence[_Terms]) -> Side:
        first = terms[0]
        score = MeanScore(
            [term.kernel for term in terms],
            [term.weight for term in terms],
            product_of_means=self._family == "trak",
        )
        model, last = first.model, first.last
        network = None
        if last is not None and len(terms) == 1 and not last.cosine and not model.embedded:
            network = partial(_network, model, last)
        return Side(score, model.features(), model.embedded, network)

    def _models(
        self, member: LiveMember, checkpoint: float, x: Rows, example: int
    ) -> tuple[DifferentiableModel, DifferentiableModel]:
        """Return the model at a checkpoint for the query and for the training example."""
        state = member.state(member.times.nearest(checkpoint))
        one = self._problem.x[example : example + 1]
        return (
            DifferentiableModel(member.module, state, x, self._inputs),
            DifferentiableModel(member.module, state, one, self._inputs),
        )

    def _of_representations(
        self, member: LiveMember, checkpoint: float, x: Rows, y: Tensor, example: int
    ) -> tuple[_Terms, _Terms]:
        query, train = self._models(member, checkpoint, x, example)
        with torch.no_grad():
            own = query.representations(query.features())[0]
            other = train.representations(train.features())[0]
        form = {"cosine": self._params.get("kind") == "cosine", "bias": self._family != "similarity"}
        kernel = float(RepresentationKernel(query.representations, other, 1.0, **form).kernel(own[None])[0])
        data = Arrays(self._problem.x, self._labels, x, y)
        result = member.call(self._choice, data, checkpoint=checkpoint)
        scores = result["scores"] if isinstance(result, Mapping) else result
        score = float(scores[0, example])
        # dual variables are not returned by all methods; where the kernel is 0, so is the score
        coefficient = score / kernel if kernel else 0.0

        def terms(model: DifferentiableModel, fixed: Tensor) -> _Terms:
            found = RepresentationKernel(model.representations, fixed, coefficient, **form)
            return _Terms(model, found, constant(1.0), found)

        return terms(query, other), terms(train, own)

    def _of_gradients(
        self, member: LiveMember, checkpoint: float, x: Rows, y: Tensor, example: int
    ) -> tuple[_Terms, _Terms]:
        query, train = self._models(member, checkpoint, x, example)
        problem = self._problem
        task, label = problem.task, problem.y[example : example + 1]
        gradients = member.need("gradients", x, y)
        pair = gradients.at(checkpoint)
        own = query.gradient(lambda outputs, _: task.target(outputs, y).sum(), x)
        other = train.gradient(lambda outputs, _: task.base(outputs, label).sum(), train.x)
        if self._family == "trak":
            solve = _TrakInverse(self._trak_space(gradients, pair, member, checkpoint), train, problem)
            inner = pair.train.inner(pair.query)[:, 0]
            along_train, along_query = solve.of_example(example), solve.of_query(own, inner)
        else:
            along_train, along_query = other, own

        def target(parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
            return task.target(query.outputs(parameters, features), _repeated(y, features))

        def base(parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
            return task.base(train.outputs(parameters, features), _repeated(label, features))

        def weight(features: Tensor) -> Tensor:
            outputs = train.outputs(train.parameters, features)
            return task.loss_weight(outputs, _repeated(label, features))

        return (
            _Terms(
                query,
                TangentKernel(target, query.parameters, along_train),
                constant(float(pair.loss_weight[example])),
            ),
            _Terms(train, TangentKernel(base, train.parameters, along_query), weight),
        )

    def _trak_space(
        self, gradients: Any, pair: Any, member: LiveMember, checkpoint: float
    ) -> tuple[ExampleSpace, float]:
        """Return what TRAK computed from the training set, and its damping in absolute units."""
        if not isinstance(pair.train, FactoredGradients):
            raise UserError(
                "the gradients of the training set are projected, so that TRAK's kernel has no exact derivative; raise "
                "memory_mib"
            )
        damping = self._params["damping"]
        member.workspace.announce([damping])
        kernel = trak_kernel(
            pair, member.workspace, member=gradients.member, weighting=self._params["weighting"]
        )
        member.workspace.announce(())
        if self._params["growing"]:
            damping *= fraction_of(gradients, checkpoint)
        assert isinstance(kernel.space, ExampleSpace)  # noqa: S101 -- nothing is projected
        return kernel.space, kernel.space.solver.unit.absolute(damping)


class _TrakInverse:
    """``(Phi^T R Phi + lambda I)^-1`` times gradients of a training example or of a query, as directions."""

    def __init__(
        self, space: tuple[ExampleSpace, float], model: DifferentiableModel, problem: Problem
    ) -> None:
        (self._space, self._damping), self._model, self._problem = space, model, problem

    def of_example(self, example: int) -> dict[str, Tensor]:
        """Return v_i."""
        unit = torch.zeros_like(self._space.root)
        unit[example] = 1 / self._space.root[example]
        solved = self._space.solver.solve(unit[:, None], self._damping)[:, 0]
        return self._combined(self._space.root * solved)

    def of_query(self, own: Mapping[str, Tensor], inner: Tensor) -> dict[str, Tensor]:
        """Return v_q.

        Args:
            own: gradient of the query.
            inner: (n_train,) inner products with the gradients of the training examples.
        """
        solved = self._space.solver.solve((self._space.root * inner)[:, None], self._damping)[:, 0]
        part = self._combined(self._space.root * solved)
        return {name: (value - part[name]) / self._damping for name, value in own.items()}

    def _combined(self, coefficients: Tensor) -> dict[str, Tensor]:
        """Return ``Phi^T coefficients``."""
        task, problem = self._problem.task, self._problem

        def weighted(outputs: Tensor, rows: slice) -> Tensor:
            return (coefficients[rows] * task.base(outputs, problem.y[rows])).sum()

        return self._model.gradient(weighted, problem.x)


def _network(model: DifferentiableModel, kernel: RepresentationKernel) -> nn.Module:
    """Return the layers before the last linear one, and a linear layer whose output is the score.

    Raises:
        UserError: the last linear map is not a layer of the module.
    """
    module = model.copy()
    used: list[nn.Linear] = []
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, _, __: used.append(layer)) for layer in layers]
    with torch.no_grad():
        outputs_of(module, model.x)
    for hook in hooks:
        hook.remove()
    if not used or used[-1].in_features != len(kernel.other):
        raise UserError("lrp needs a model that ends in nn.Linear; choose integrated-gradients")
    head = nn.Linear(len(kernel.other), 1).to(kernel.other)
    with torch.no_grad():
        head.weight.copy_(kernel.coefficient * kernel.other[None])
        head.bias.fill_(kernel.coefficient * kernel.bias)
    if used[-1] is module:
        return nn.Sequential(head)
    for parent in module.modules():
        for name, child in parent.named_children():
            if child is used[-1]:
                setattr(parent, name, head)
    return module.eval()


def _repeated(y: Tensor, features: Tensor) -> Tensor:
    return y.expand(len(features), *y.shape[1:])
