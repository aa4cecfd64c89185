"""Dense float64 implementations of all needs of a method, by ``torch.func`` and nothing else.

A :class:`World` is a small differentiable model with its data. It has neither factored gradients nor checkpoints on disk:
its tensors follow from the definitions in the protocols of ``proponent.methods.shared.needs``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, vmap
from torch.nn.functional import cross_entropy

from methods.array_data import as_arrays
from oracles.kronecker import dense_kronecker
from proponent.memory_budget import MemoryBudget
from proponent.methods.shared.workspace import Workspace

Forward = Callable[[Tensor, Tensor], Tensor]


@dataclass
class DenseBlock:
    """Gradients as a plain matrix whose last ``n_last`` columns belong to the last layer."""

    values: Tensor
    n_last: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def slice(self, rows: slice) -> DenseBlock:
        """Return some of the rows."""
        return replace(self, values=self.values[rows])

    def inner(self, other: DenseBlock) -> Tensor:
        """Return all inner products."""
        return self.values @ other.values.T

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with the rows of a matrix."""
        return self.values @ vectors.T

    def norms_squared(self) -> Tensor:
        """Return the squared norms."""
        return (self.values**2).sum(1)

    def last_layer(self) -> DenseBlock:
        """Return the last columns."""
        return DenseBlock(self.values[:, -self.n_last :], self.n_last)

    @property
    def n_parameters(self) -> int:
        """Return the number of columns."""
        return self.values.shape[1]

    def by_layer(self) -> list[DenseBlock]:
        """Return the parameters before the last layer, and the last layer."""
        split = self.n_parameters - self.n_last
        parts = (self.values[:, :split], self.values[:, split:])
        return [DenseBlock(part) for part in parts if part.shape[1]]

    def project_sides(self, side: int, kind: str, seed: int, scale: Tensor | None = None) -> list[DenseBlock]:
        """Return the layers, scaled but not projected: as if no side were wider than ``side``."""
        scaled = self.values if scale is None else self.values * scale
        return DenseBlock(scaled, self.n_last).by_layer()

    def mask(self, count: int, seed: int) -> DenseBlock:
        """Return all coordinates: as if there were at most ``count``."""
        return self

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return the mean squared entries."""
        return ((weights[:, None] * self.values) ** 2).mean(0)

    def project(self, dim: int, kind: str, seed: int) -> DenseBlock:
        """Return a Gaussian projection, whatever the kind."""
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(self.values.shape[1], dim, generator=generator, dtype=self.values.dtype)
        return DenseBlock(self.values @ matrix / dim**0.5)

    def dense(self) -> Tensor:
        """Return the matrix."""
        return self.values


@dataclass(eq=False)
class Pair:
    """Gradients at one checkpoint."""

    train: DenseBlock
    query: DenseBlock
    loss_weight: Tensor
    loss_curvature: Tensor
    learning_rate: float
    duration: float

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients."""
        return self.train.inner(self.train)


@dataclass(eq=False)
class Checkpoints:
    """Values of one member at its checkpoints, by fraction of training, the final one last."""

    values: dict[float, object]
    member: int = 0

    @property
    def fractions(self) -> list[float]:
        """Return the fraction of training at each checkpoint."""
        return list(self.values)

    def nearest(self, checkpoint: float) -> int:
        """Return the index of the nearest checkpoint."""
        return min(
            range(len(self.values)), key=lambda index: abs(math.log(self.fractions[index] / checkpoint))
        )

    def at(self, checkpoint: float) -> object:
        """Return the value at the nearest checkpoint."""
        return self.checkpoint(self.nearest(checkpoint))

    def along(self) -> Iterator[object]:
        """Yield all values in order."""
        yield from self.values.values()

    @property
    def durations(self) -> list[float]:
        """Return the length of training up to each checkpoint."""
        return [value.duration for value in self.values.values()]

    def checkpoint(self, index: int) -> object:
        """Return the value at a checkpoint by its index."""
        return list(self.values.values())[index]

    @property
    def stages(self) -> list[SimpleNamespace]:
        """Return the one stage of all examples."""
        return [SimpleNamespace(examples=slice(None), checkpoint=len(self.values) - 1, network=self)]

    def blend(self, weights: list[float]) -> object:
        """Return the value at the one checkpoint that counts."""
        return self.checkpoint(weights.index(1.0))

    def kronecker(self, weights: list[float], samples: int, seed: int) -> Kronecker:
        """Return the basis at the one checkpoint that counts."""
        return self.blend(weights).kronecker(samples, seed)


@dataclass(frozen=True, eq=False)
class Retrainings:
    """Masks and targets."""

    masks: Tensor
    targets: Tensor


@dataclass(eq=False)
class World:
    """A model ``forward(theta, x) -> outputs`` of one example, its data, and where training stopped."""

    forward: Forward
    represent: Forward
    n_last: int
    theta: Tensor
    x_train: Tensor
    y_train: Tensor
    x_query: Tensor
    y_query: Tensor
    weight_decay: float = 0.0
    learning_rate: float = 0.1
    duration: float = 10.0
    shapes: tuple[tuple[int, int], ...] = ()
    """(out, in) of the layers, a bias the last column, laid out row-major one after the other."""
    inputs: Callable[[Tensor, Tensor], tuple[Tensor, ...]] | None = None
    """Of each layer for one example."""

    def at_queries(self, x: Tensor, y: Tensor) -> World:
        """Return the same world with other queries."""
        return replace(self, x_query=x, y_query=y)

    def at_theta(self, theta: Tensor, duration: float | None = None) -> World:
        """Return the same world at another point of its training."""
        return replace(self, theta=theta, duration=self.duration if duration is None else duration)

    @property
    def classification(self) -> bool:
        """Return whether the labels are classes."""
        return not self.y_train.is_floating_point()

    def loss(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of one example."""
        outputs = self.forward(theta, x)
        return cross_entropy(outputs, y) if self.classification else 0.5 * ((outputs - y) ** 2).sum()

    def target(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the margin log p / (1 - p), or -loss, of one example."""
        if not self.classification:
            return -self.loss(theta, x, y)
        outputs = self.forward(theta, x)
        own = torch.arange(len(outputs)) == y
        return (outputs * own).sum() - outputs.masked_fill(own, -torch.inf).logsumexp(0)

    def objective(self, theta: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return (1/n) sum w_i loss_i + weight_decay / 2 ||theta||^2."""
        losses = vmap(self.loss, (None, 0, 0))(theta, self.x_train, self.y_train)
        mean = losses.mean() if weights is None else (weights * losses).sum() / len(losses)
        return mean + self.weight_decay / 2 * theta @ theta

    def targets(self, theta: Tensor) -> Tensor:
        """Return the targets of the queries, (n_query,)."""
        return vmap(self.target, (None, 0, 0))(theta, self.x_query, self.y_query)

    # needs, as the protocols define them

    def pair(self) -> Pair:
        """Return the gradients of the target."""
        gradient = vmap(grad(self.target), (None, 0, 0))
        train = gradient(self.theta, self.x_train, self.y_train)
        query = gradient(self.theta, self.x_query, self.y_query)
        return Pair(
            DenseBlock(train, self.n_last),
            DenseBlock(query, self.n_last),
            self.loss_weight,
            self.loss_weight * (1 - self.loss_weight),
            self.learning_rate,
            self.duration,
        )

    @cached_property
    def loss_weight(self) -> Tensor:
        """Return 1 - p, or ones."""
        outputs = vmap(self.forward, (None, 0))(self.theta, self.x_train)
        if not self.classification:
            return outputs.new_ones(len(outputs))
        return 1 - outputs.softmax(1).gather(1, self.y_train[:, None])[:, 0]

    def gradients(self) -> Checkpoints:
        """Return gradients with one checkpoint, the final one."""
        return Checkpoints({1.0: self.pair()})

    def network(self) -> Checkpoints:
        """Return curvature at the final checkpoint."""
        return Checkpoints({1.0: Curvature(self)})

    def representations(self) -> Checkpoints:
        """Return the inputs of the last layer at the final checkpoint."""
        represent = vmap(self.represent, (None, 0))
        return Checkpoints(
            {1.0: _Two(represent(self.theta, self.x_train), represent(self.theta, self.x_query))}
        )

    def outputs(self) -> Checkpoints:
        """Return the outputs at the final checkpoint."""
        forward = vmap(self.forward, (None, 0))
        return Checkpoints({1.0: _Two(forward(self.theta, self.x_train), forward(self.theta, self.x_query))})

    def retrainings(self, count: int = 300, steps: int = 40) -> Retrainings:
        """Return the queries' targets after gradient descent on random halves, each from a start of its own."""
        generator = torch.Generator().manual_seed(17)
        n = len(self.x_train)
        masks = torch.rand(count, n, generator=generator).argsort(1) < n // 2
        theta = (
            torch.randn(count, len(self.theta), generator=generator, dtype=torch.float64).to(self.theta) / 2
        )
        slope = vmap(grad(self.objective))
        for _ in range(steps):
            theta = theta - self.learning_rate * slope(theta, 2 * masks.to(self.theta))
        return Retrainings(masks, vmap(self.targets)(theta))

    def permutations(self, count: int = 60, steps: int = 40) -> Retrainings:
        """Return the queries' targets after gradient descent on the first sixths of random orders."""
        generator = torch.Generator().manual_seed(23)
        n = len(self.x_train)
        places = torch.rand(count, n, generator=generator).argsort(1).argsort(1)
        sizes = torch.arange(1, 7) * n // 6
        masks = places[:, None] < sizes[:, None]
        start = (
            torch.randn(count, 1, len(self.theta), generator=generator, dtype=torch.float64).to(self.theta)
            / 2
        )
        theta = start.expand(-1, 6, -1).flatten(0, 1)
        weights = (n * masks / sizes[:, None]).to(self.theta).flatten(0, 1)
        slope = vmap(grad(self.objective))
        for _ in range(steps):
            theta = theta - self.learning_rate * slope(theta, weights)
        return Retrainings(masks, vmap(self.targets)(theta).unflatten(0, (count, 6)))

    def scores(self) -> dict[str, Tensor]:
        """Return the scores of two methods, GradDot and GradCos."""
        pair = self.pair()
        dot = pair.query.inner(pair.train)
        lengths = pair.query.values.norm(dim=1)[:, None] * pair.train.values.norm(dim=1)
        return {"graddot": dot * pair.loss_weight, "gradcos": dot / lengths}

    def needs(self, names: list[str]) -> list[object]:
        """Return the needs of a method by the names of its arguments, each time with a workspace of its own."""
        made = {
            "data": lambda: self,
            "gradients": self.gradients,
            "network": self.network,
            "representations": self.representations,
            "outputs": self.outputs,
            "retrainings": self.retrainings,
            "permutations": self.permutations,
            "scores": self.scores,
            "workspace": Workspace,
        }
        return [made[name]() for name in names]


def inputs_of(module: ModuleType, world: World, function: str = "attribute") -> dict[str, object]:
    """Return the needs of a method's function by name; its data are arrays where the module declares so."""
    arguments = inspect.signature(getattr(module, function)).parameters.values()
    names = [p.name for p in arguments if p.kind is p.POSITIONAL_OR_KEYWORD]
    if function == "finish":
        names = names[1:]  # the first argument is the combined scores
    found = dict(zip(names, world.needs(names), strict=True))
    if "data" in found and getattr(module, "ARRAYS", None) == "numpy":
        found["data"] = as_arrays(world)
    return found


def self_influence(module: ModuleType, *needs: object, **params: object) -> Tensor | tuple[Tensor, ...]:
    """Return a method's self-influence, for hyper-parameters that are resolved as in the attribution step."""
    wanted, declared = (
        {
            p.name: p.default
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
        for function in (module.self_influence, module.attribute)
    )
    values = {**declared, **getattr(module, "SELF_INFLUENCE", {}), **params}
    return module.self_influence(*needs, **{name: values[name] for name in wanted})


@dataclass
class _Two:
    train: Tensor
    query: Tensor


class Curvature:
    """Dense curvature of a world."""

    budget = MemoryBudget(math.inf)
    root_row = 0
    pass_mib = kronecker_mib = 0.0

    def __init__(self, world: World) -> None:
        pair = world.pair()
        self.world = world
        self.train, self.query, self.loss_weight = pair.train, pair.query, pair.loss_weight
        self.n_train, self.n_parameters = self.train.values.shape
        self.shapes = ((self.n_parameters,),)
        self.n_outputs = len(world.forward(world.theta, world.x_train[0]))
        self.weight_decay, self.duration = world.weight_decay, world.duration

    def ggn_root(self) -> DenseBlock:
        """Return symmetric roots of the output Hessians times the Jacobians."""
        world = self.world
        jacobians = vmap(jacrev(world.forward), (None, 0))(world.theta, world.x_train)
        if not world.classification:
            return DenseBlock(jacobians.flatten(0, 1))
        p = vmap(world.forward, (None, 0))(world.theta, world.x_train).softmax(1)
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
        roots = values.clamp_min(0).sqrt()[:, :, None] * vectors.mT
        return DenseBlock((roots @ jacobians).flatten(0, 1))

    def ggn(self) -> Tensor:
        """Return the Gauss-Newton matrix of the mean loss."""
        root = self.ggn_root().values
        return root.T @ root / self.n_train

    def kronecker(self, samples: int, seed: int) -> Kronecker:
        """Return the eigenbasis of the Kronecker factors, labels always by their exact expectation."""
        world = self.world
        assert world.inputs is not None
        taken = vmap(world.inputs, (None, 0))(world.theta, world.x_train)
        basis, factored, eigenvalues = dense_kronecker(
            self.ggn_root().values, list(taken), list(world.shapes)
        )
        return Kronecker(basis, factored, eigenvalues, world.shapes)

    def ggn_product(self, vectors: Tensor, examples: Tensor | None = None, *, count: int = 0) -> Tensor:
        """Return products with rows."""
        return vectors @ self._of(examples)._kept_ggn

    @cached_property
    def _kept_ggn(self) -> Tensor:
        return self.ggn()

    def _of(self, examples: Tensor | None) -> Curvature:
        if examples is None:
            return self
        world = self.world
        return Curvature(replace(world, x_train=world.x_train[examples], y_train=world.y_train[examples]))


@dataclass
class Kronecker:
    """An eigenbasis (p, p) and the eigenvalues in it."""

    basis: Tensor
    factored: Tensor
    eigenvalues: Tensor
    shapes: tuple[tuple[int, int], ...]
    approximated: tuple[str, ...] = ()

    @property
    def spans(self) -> tuple[slice, ...]:
        """Return the coordinates of each layer."""
        bounds = [0, *torch.tensor([out * width for out, width in self.shapes]).cumsum(0).tolist()]
        return tuple(map(slice, bounds, bounds[1:]))

    def to_eigenbasis(self, vectors: Tensor) -> Tensor:
        """Return the coordinates of rows."""
        return vectors @ self.basis

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return rows with these coordinates."""
        return coordinates @ self.basis.T

    def rotate(self, block: DenseBlock) -> RotatedBlock:
        """Return coordinates in the basis."""
        return RotatedBlock(block.values @ self.basis)


class RotatedBlock(DenseBlock):
    """Coordinates in an eigenbasis."""

    def inner(self, other: RotatedBlock, diagonal: Tensor) -> Tensor:
        """Return all inner products under a diagonal metric."""
        return self.values * diagonal @ other.values.T

    def squares_inner(self, vectors: Tensor) -> Tensor:
        """Return weighted sums of squares."""
        return self.values**2 @ vectors.T


def random_data(n: int, d: int, n_classes: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs and noisy labels that depend on them linearly; ``n_classes`` None is regression."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    truth = torch.randn(d, n_classes or 1, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    noisy = x @ truth + 0.5 * torch.randn(n, n_classes or 1, generator=generator, dtype=torch.float64)
    return x, noisy.argmax(1) if n_classes else noisy


def linear_world(
    n: int, d: int, n_classes: int | None, weight_decay: float = 0.05, n_query: int = 4
) -> World:
    """Return logistic or ridge regression at its minimum, found by Newton's method."""
    outputs = n_classes or 1

    def forward(theta: Tensor, x: Tensor) -> Tensor:
        return theta.reshape(outputs, d) @ x

    start = torch.zeros(outputs * d, dtype=torch.float64)
    train, query = random_data(n, d, n_classes, 0), random_data(n_query, d, n_classes, 1)
    world = World(forward, lambda _, x: x, outputs * d, start, *train, *query, weight_decay=weight_decay)
    world = replace(world, shapes=((outputs, d),), inputs=lambda _, x: (x,))
    return world.at_theta(newton(world.objective, start))


def mlp_world(
    n: int = 30, d: int = 4, width: int = 5, n_classes: int | None = 3, steps: int = 200, n_query: int = 4
) -> World:
    """Return a tanh network after some steps of full-batch gradient descent, far from any minimum."""
    outputs = n_classes or 1
    first, n_last = width * (d + 1), outputs * (width + 1)

    def represent(theta: Tensor, x: Tensor) -> Tensor:
        weight = theta[:first].reshape(width, d + 1)
        return torch.tanh(weight[:, :d] @ x + weight[:, d])

    def forward(theta: Tensor, x: Tensor) -> Tensor:
        weight = theta[first:].reshape(outputs, width + 1)
        return weight[:, :width] @ represent(theta, x) + weight[:, width]

    generator = torch.Generator().manual_seed(3)
    start = torch.randn(first + n_last, generator=generator, dtype=torch.float64) / 2
    train, query = random_data(n, d, n_classes, 0), random_data(n_query, d, n_classes, 1)

    def inputs(theta: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.cat([taken, taken.new_ones(1)]) for taken in (x, represent(theta, x)))

    world = World(forward, represent, n_last, start, *train, *query, weight_decay=0.01)
    world = replace(world, shapes=((width, d + 1), (outputs, width + 1)), inputs=inputs)
    slope = grad(world.objective)
    for _ in range(steps):
        world.theta = world.theta - world.learning_rate * slope(world.theta)
    world.duration = max(steps, 1) * world.learning_rate
    return world


def newton(objective: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Return the minimum of a strictly convex function to rounding."""
    theta = start
    for _ in range(50):
        step = torch.linalg.solve(hessian(objective)(theta), grad(objective)(theta))
        theta = theta - step
        if step.abs().max() < 1e-13:
            break
    return theta
