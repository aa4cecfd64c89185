"""Dense reference scores in double precision, by plain autograd and the definitions of the methods.

They use no engine of this package. Influence functions are solved until the residual is :data:`TOLERANCE`, once with the
Gauss-Newton matrix and once with the Hessian; everything else is written out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap

sys.path += [str(Path(__file__).parent / "adapters"), str(Path(__file__).parents[2] / "tests")]
import harness
from problems import save

from oracles.kronecker import layer_sides

TOLERANCE = 1e-8
"""Largest relative residual of a solution."""
DENSE = 10_000
"""Parameters up to which the Gauss-Newton matrix is formed and its inverse preconditions the solutions."""
Parameters = dict[str, Tensor]


class Reference:
    """A network in double precision with its data.

    Args:
        problem: the trained model, training examples and queries.
        state: parameters, in place of those of the model.
    """

    def __init__(self, problem: harness.Problem, state: Parameters | None = None) -> None:
        self.module = harness.NETWORKS[problem.network]().double()
        self.module.load_state_dict(state or problem.states[0])
        self.x, self.y = problem.x_train.double(), problem.y_train
        self.x_query, self.y_query = problem.x_query.double(), problem.y_query
        self.parameters = {name: value.detach() for name, value in self.module.named_parameters()}
        self.sizes = [value.numel() for value in self.parameters.values()]
        self.theta = torch.cat([value.flatten() for value in self.parameters.values()])
        self.n = len(self.y)

    def named(self, flat: Tensor) -> Parameters:
        """Return parameters by name from one vector."""
        parts = zip(self.parameters.items(), flat.split(self.sizes), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}

    def logits(self, flat: Tensor, x: Tensor) -> Tensor:
        """Return the outputs as a function of the parameters."""
        return functional_call(self.module, self.named(flat), (x,))

    def gradients(self, value: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient of ``value(outputs, labels)`` of each example, (n, p)."""

        def one(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return value(self.logits(flat, x[None]), y[None])

        rows = [
            vmap(grad(one), in_dims=(None, 0, 0))(self.theta, *part)
            for part in zip(x.split(50), y.split(50), strict=True)
        ]
        return torch.cat(rows)

    @property
    def losses(self) -> Tensor:
        """Gradients of the losses of the training examples, (n, p)."""
        return self.gradients(nn.functional.cross_entropy, self.x, self.y)

    @property
    def margins(self) -> Tensor:
        """Gradients of the margins of the training examples, (n, p)."""
        return self.gradients(margin, self.x, self.y)

    @property
    def queries(self) -> Tensor:
        """Gradients of the margins of the queries, (n_query, p)."""
        return self.gradients(margin, self.x_query, self.y_query)

    def hessian_product(self, vector: Tensor) -> Tensor:
        """Return the product of the Hessian of the mean loss with a vector, (p,)."""

        def slope(flat: Tensor) -> Tensor:
            return grad(lambda each: nn.functional.cross_entropy(self.logits(each, self.x), self.y))(flat)

        return jvp(slope, (self.theta,), (vector,))[1]

    def ggn(self) -> Tensor:
        """Return the Gauss-Newton matrix of the mean loss, (p, p), from the Jacobian of each example."""

        def outputs(flat: Tensor, x: Tensor) -> Tensor:
            return self.logits(flat, x[None])[0]

        total = torch.zeros(len(self.theta), len(self.theta), dtype=self.theta.dtype)
        for x in self.x.split(50):
            jacobians = vmap(jacrev(outputs), in_dims=(None, 0))(self.theta, x)
            p = self.logits(self.theta, x).softmax(1)
            roots = p.sqrt()[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype) - p[:, None, :])
            rows = (roots @ jacobians).flatten(0, 1)
            total.addmm_(rows.T, rows, alpha=1 / self.n)
        return total

    def ggn_product(self, vector: Tensor) -> Tensor:
        """Return the product of the Gauss-Newton matrix of the mean loss with a vector, (p,)."""

        def outputs(flat: Tensor) -> Tensor:
            return self.logits(flat, self.x)

        logits, along = jvp(outputs, (self.theta,), (vector,))
        p = logits.softmax(1)
        bent = p * (along - (p * along).sum(1, keepdim=True)) / self.n
        return vjp(outputs, self.theta)[1](bent)[0]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p / (1 - p) of the only label."""
    own = torch.arange(logits.shape[1]) == labels[:, None]
    others = logits.masked_fill(own, -torch.inf)
    return (logits.gather(1, labels[:, None])[:, 0] - others.logsumexp(1)).sum()


def largest_eigenvalue(product: Callable[[Tensor], Tensor], size: int, steps: int = 30) -> float:
    """Return the largest eigenvalue of a symmetric matrix by power iteration."""
    vector = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    length = torch.ones(())
    for _ in range(steps):
        vector = product(vector / vector.norm())
        length = vector.norm()
    return float(length)


def solve(product: Callable[[Tensor], Tensor], right: Tensor, shift: float) -> Tensor:
    """Return the solutions X of (C + shift I) X = right for each row, (k, p), by conjugate gradients.

    Raises:
        ArithmeticError: the shifted matrix is not positive definite.
    """
    solution = torch.zeros_like(right)
    residual, direction = right.clone(), right.clone()
    squares, target = residual.square().sum(1), TOLERANCE**2 * right.square().sum(1)
    while (squares > target).any():
        image = vmap(product, chunk_size=10)(direction) + shift * direction
        curvature = (direction * image).sum(1)
        if (curvature[squares > 0] <= 0).any():
            raise ArithmeticError("the shifted matrix is not positive definite")
        step = squares / curvature
        solution += step[:, None] * direction
        residual -= step[:, None] * image
        before, squares = squares, residual.square().sum(1)
        direction = residual + (squares / before)[:, None] * direction
    return solution


def solve_indefinite(
    product: Callable[[Tensor], Tensor], right: Tensor, shift: float, positive: Tensor
) -> Tensor:
    """Return the solutions of :func:`solve`, also where C + shift I is indefinite, as the Hessian of a network may be.

    All rows search one space, which grows by their preconditioned residuals, for the smallest residual.

    Args:
        product: product of C with a vector.
        right: (k, p) right-hand sides.
        shift: added to the diagonal of C.
        positive: (p, p) positive definite approximation of C + shift I.
    """
    factor = torch.linalg.cholesky(positive)
    basis, images = right.new_zeros(0, right.shape[1]), right.new_zeros(0, right.shape[1])
    solution, residual = torch.zeros_like(right), right
    while (open_rows := residual.norm(dim=1) > TOLERANCE * right.norm(dim=1)).any():
        added = torch.cholesky_solve(residual[open_rows].T, factor).T
        for _ in range(2):  # once leaves rounding errors
            added = torch.linalg.qr((added - (added @ basis.T) @ basis).T).Q.T
        basis = torch.cat([basis, added])
        images = torch.cat([images, vmap(product, chunk_size=10)(added) + shift * added])
        weights = torch.linalg.lstsq(images.T, right.T).solution.T
        solution, residual = weights @ basis, right - weights @ images
    return solution


def layers_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield names and modules of the layers with parameters."""
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            yield name, layer


def constants(model: Reference) -> dict[str, NDArray]:
    """Return absolute dampings for libraries that take no relative ones, and the largest eigenvalue of the Hessian."""
    p = model.module(model.x).softmax(1).detach()
    trace = 0.0
    for label, share in enumerate(p.T):

        def loss(logits: Tensor, _: Tensor, label: int = label) -> Tensor:
            return -logits.log_softmax(1)[0, label]

        trace += float(share @ model.gradients(loss, model.x, model.y).square().sum(1)) / model.n
    return {
        "largest_curvature": np.array(largest_eigenvalue(model.hessian_product, len(model.theta))),
        "datainf_damping": np.array(harness.RELATIVE_DAMPING * float(model.losses.square().mean())),
        "ekfac_damping": np.array(harness.RELATIVE_DAMPING * trace / len(model.theta)),
        "trak_damping": np.array(harness.TRAK_DAMPING * float(model.margins.square().sum(1).mean())),
    }


def graddot(model: Reference) -> Tensor:
    """Inner products of the gradients of margins and of losses."""
    return -model.queries @ model.losses.T


def tracin(problem: harness.Problem) -> Tensor:
    """The same summed over the checkpoints."""
    return sum(harness.RATE * graddot(Reference(problem, state)) for state in problem.checkpoints)


def influence(model: Reference, product: Callable[[Tensor], Tensor]) -> Tensor:
    """Influence functions with an exact inverse."""
    if len(model.theta) > DENSE:
        solutions = solve(product, model.queries, harness.DAMPING)
    else:
        positive = model.ggn()
        positive.diagonal().add_(harness.DAMPING)
        solutions = solve_indefinite(product, model.queries, harness.DAMPING, positive)
    return -solutions @ model.losses.T / model.n


def datainf(model: Reference, absolute: float | None = None) -> Tensor:
    """Mean over examples of damped inverses, layer by layer; with one absolute damping, or relative ones."""
    total = torch.zeros(())
    splits = _layer_sizes(model)
    for query, train in zip(model.queries.split(splits, 1), model.losses.split(splits, 1), strict=True):
        shift = absolute or harness.RELATIVE_DAMPING * float(train.square().mean())
        inner = query @ train.T
        share = inner / (shift + train.square().sum(1))
        total = total - (inner - share @ (train @ train.T) / model.n) / (shift * model.n)
    return total


def _layer_sizes(model: Reference) -> list[int]:
    return [sum(part.numel() for part in layer.parameters()) for _, layer in layers_of(model.module)]


def ekfac(model: Reference) -> Tensor:
    """EK-FAC with the expectation over labels written out."""
    logits = model.module(model.x).detach()
    p = logits.softmax(1)
    roots = p.sqrt()[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype) - p[:, None, :])
    total = torch.zeros(())
    splits = _layer_sizes(model)
    parts = zip(model.queries.split(splits, 1), model.losses.split(splits, 1), strict=True)
    for (_, layer), (query, train) in zip(layers_of(model.module), parts, strict=True):
        sides = layer_sides(model.module, layer, model.x, roots)
        _, inputs = torch.linalg.eigh(sum(a.T @ a for a, _ in sides) / model.n)
        _, outputs = torch.linalg.eigh(sum(d.T @ d for _, back in sides for d in back) / model.n)
        values = sum(((d @ outputs).T @ (a @ inputs)).square() for a, back in sides for d in back) / model.n
        damped = values + harness.RELATIVE_DAMPING * values.mean()
        rotated = [outputs.T @ _matrices(rows, layer) @ inputs for rows in (query, train)]
        total = total - torch.einsum("qab,nab->qn", rotated[0] / damped, rotated[1]) / model.n
    return total


def _matrices(rows: Tensor, layer: nn.Module) -> Tensor:
    """Return gradients of a layer as matrices, the bias as last column, from rows (n, p)."""
    weight, bias = layer.weight, layer.bias
    flat, last = rows.split([weight.numel(), bias.numel()], 1)
    return torch.cat([flat.reshape(len(rows), len(weight), -1), last[:, :, None]], 2)


def trak(problem: harness.Problem, states: list[Parameters]) -> Tensor:
    """TRAK without projection, in example space."""
    kernels, weights = [], []
    for state in states:
        model = Reference(problem, state)
        train = model.margins
        gram = train @ train.T
        shift = harness.TRAK_DAMPING * float(gram.diagonal().mean())
        damped = gram + shift * torch.eye(model.n, dtype=gram.dtype)
        kernels.append(torch.linalg.solve(damped, train @ model.queries.T).T)
        logits = model.module(model.x).detach()
        weights.append(1 - logits.softmax(1).gather(1, model.y[:, None])[:, 0])
    return torch.stack(kernels).mean(0) * torch.stack(weights).mean(0)


def representations(problem: harness.Problem) -> tuple[Tensor, Tensor]:
    """Return the inputs of the last layer for training examples and queries."""
    model = Reference(problem)
    body = nn.Sequential(*list(model.module)[:-1])
    with torch.no_grad():
        return body(model.x), body(model.x_query)


def rps(problem: harness.Problem, soft: bool) -> Tensor:
    """Representer points by Newton's method; ``soft``: the targets are the network's probabilities, without a bias."""
    train, query = representations(problem)
    n, lam = len(train), harness.REGULARISATION
    if soft:
        targets = Reference(problem).module(problem.x_train.double()).softmax(1).detach()
    else:
        train, query = (torch.cat([each, each.new_ones(len(each), 1)], 1) for each in (train, query))
        targets = nn.functional.one_hot(problem.y_train).double()
    shape = (train.shape[1], targets.shape[1])

    def value(flat: Tensor) -> Tensor:
        weights = flat.view(shape)
        return nn.functional.cross_entropy(train @ weights, targets) + lam * weights.square().sum()

    flat = torch.zeros(shape[0] * shape[1], dtype=torch.float64)
    for _ in range(50):
        slope = grad(value)(flat)
        p = (train @ flat.view(shape)).softmax(1)
        bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        curvature = torch.einsum("ni,ncd,nj->icjd", train, bend, train).reshape(len(flat), -1) / n
        curvature += 2 * lam * torch.eye(len(flat), dtype=flat.dtype)
        step = torch.linalg.solve(curvature, slope)
        size = 1.0
        while value(flat - size * step) > value(flat) and size > 1e-9:
            size /= 2
        flat = flat - size * step
    alpha = (targets - (train @ flat.view(shape)).softmax(1)) / (2 * lam * n)
    return alpha[:, problem.y_query].T * (query @ train.T)


def knn_shapley(problem: harness.Problem) -> Tensor:
    """Shapley values of the nearest-neighbour vote by their recursion, one query at a time."""
    train, query = representations(problem)
    scores = torch.zeros(len(query), len(train), dtype=torch.float64)
    k, n = harness.NEIGHBOURS, len(train)
    for row, (point, label) in enumerate(zip(query, problem.y_query, strict=True)):
        order = (train - point).square().sum(1).argsort()
        match = (problem.y_train[order] == label).double()
        value = match[-1] * min(k, n) / (n * k)
        scores[row, order[-1]] = value
        for rank in range(n - 2, -1, -1):
            value = value + (match[rank] - match[rank + 1]) / k * min(k, rank + 1) / (rank + 1)
            scores[row, order[rank]] = value
    return scores


def make(folder: Path, n_train: int, n_query: int) -> None:
    """Write the constants of a network and its reference scores, where they are not there yet.

    Files: ``constants.npz``, and ``reference-500-graddot.npz`` and so on with one array, ``scores``.
    """
    problem = harness.load(folder, folder).first(n_train, n_query)
    model = Reference(problem)
    path = folder / "constants.npz"
    if not path.exists():
        save(path, constants(model))
    absolute = float(problem.constants()["datainf_damping"])
    scores: dict[str, Callable[[], Tensor]] = {
        "graddot": lambda: graddot(model),
        "tracin": lambda: tracin(problem),
        "datainf": lambda: datainf(model),
        "datainf-absolute": lambda: datainf(model, absolute),
        "trak": lambda: trak(problem, problem.states[:1]),
        "trak-10": lambda: trak(problem, problem.states),
        "rps": lambda: rps(problem, soft=False),
        "rps-soft": lambda: rps(problem, soft=True),
        "knn-shapley": lambda: knn_shapley(problem),
        "ekfac": lambda: ekfac(model),
        "influence-ggn": lambda: influence(model, model.ggn_product),
        "influence-hessian": lambda: influence(model, model.hessian_product),
    }
    for name, compute in scores.items():
        path = folder / f"reference-{n_train}-{name}.npz"
        if not path.exists():
            print(f"{folder.name}: dense reference {name}", file=sys.stderr)
            save(path, {"scores": compute().detach().numpy()})
