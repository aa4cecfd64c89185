"""DualDA (Yolcu et al. 2025, "DualXDA"): dual variables of a multiclass SVM on the representations.

Keep the network's representations h (with a 1 appended for the bias) and put the multiclass SVM of Crammer and
Singer on them,

    min over W   ||W||_F^2 / 2 + C sum_i max_c (w_c^T h_i - w_{y_i}^T h_i + 1[c != y_i])

At its minimum the layer is a sum over the training examples, and so is every logit:

    W = sum_i h_i alpha_i^T,     scores[q, i] = alpha_i[c] <h_i, h_q>

with c the query's label, so that ``sum_i scores[q, i]`` is the SVM's logit of c. Most examples are no support
vectors: their alpha, and their column of the scores, is zero. Shapes: (n_query, n_train). Cost: see
:func:`fit`; 4500 x 65 and ten classes: 1 to 2 s. It explains a surrogate: how often this agrees with the network is
said in the manifest.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.needs import Data, Outputs, RepresentationPair, Representations
from proponent.methods.shared.solvers import keep
from proponent.seeds import derive_seed

TASKS = ("classification",)

_TOLERANCE = 1e-4
"""Largest violation of the optimality conditions, in units of the margin, which is 1."""
_SWEEPS = 5
"""Sweeps over the violating examples before all are looked at again."""
_ROUNDING = 1e-12
"""Share of C below which an example is no support vector."""

Matrix = NDArray[np.float64]


def attribute(
    data: Data,
    representations: Representations,
    outputs: Outputs,
    *,
    cost: float = 0.1,
    checkpoint: float = 1.0,
    rounds: int = 500,
) -> dict[str, Tensor]:
    """Return the scores, and their sparse form: ``support`` (m,) and ``duals`` (m, n_classes).

    ``scores[q, support[j]] = duals[j, y_q] <h_support[j], h_q>``, and 0 elsewhere. Two figures come along:
    ``agreement`` is the share of training examples and queries to which SVM and network give the same label,
    and ``support_fraction`` that of the training examples that are support vectors.

    Args:
        data: for the labels.
        representations: of one member.
        outputs: of the same member, for the agreement.
        cost: C in units of 1 / mean squared norm of a representation.
        checkpoint: fraction of training.
        rounds: of the solver, at most.

    Raises:
        UserError: the solver did not converge.
    """
    pair = representations.at(checkpoint)
    alpha = _alpha(pair, data.y_train, cost, rounds)
    train, query = _with_bias(pair.train), _with_bias(pair.query)
    support = alpha.any(1).nonzero()[:, 0]
    duals = alpha[support]
    scores = query.new_zeros(len(query), len(train))
    scores[:, support] = duals[:, data.y_query].T * (query @ train[support].T)
    weights = train[support].T @ duals
    own = outputs.at(checkpoint)
    agree = [
        (features @ weights).argmax(1) == logits[:, : alpha.shape[1]].argmax(1)
        for features, logits in ((train, own.train), (query, own.query))
    ]
    return {
        "scores": scores,
        "support": support,
        "duals": duals,
        "agreement": torch.cat(agree).double().mean(),
        "support_fraction": torch.tensor(len(support) / len(alpha)),
    }


def self_influence(
    data: Data,
    representations: Representations,
    outputs: Outputs,
    *,
    cost: float = 0.1,
    checkpoint: float = 1.0,
    rounds: int = 500,
) -> Tensor:
    """Return alpha_i at the example's own label, (n_train,), in [0, C]: C where it lies on the wrong side."""
    alpha = _alpha(representations.at(checkpoint), data.y_train, cost, rounds)
    return alpha.gather(1, data.y_train[:, None])[:, 0]


def _alpha(pair: RepresentationPair, labels: Tensor, cost: float, rounds: int) -> Tensor:
    """Return alpha, (n_train, n_classes), in the dtype of the representations."""

    def make() -> Tensor:
        features = _with_bias(pair.train).double().numpy(force=True)
        bound = cost / float((features**2).sum(1).mean())
        return torch.from_numpy(fit(features, labels.numpy(force=True), bound, rounds)).to(pair.train)

    return keep(pair, ("dualda", cost, rounds), make)


def fit(
    features: Matrix, labels: NDArray[np.int64], bound: float, rounds: int, tolerance: float = _TOLERANCE
) -> Matrix:
    """Return the dual variables alpha, (n, n_classes), by sequential dual descent (Keerthi et al. 2008).

    The dual is ``min ||sum_i h_i alpha_i^T||^2 / 2 - sum_i alpha_i[y_i]`` over ``sum_c alpha_i[c] = 0`` and
    ``alpha_i <= C onehot(y_i)``. A step solves it for one example exactly. A round finds the examples that
    violate their optimality conditions, all at once, and sweeps over these alone in a random order.

    Args:
        features: h, (n, d).
        labels: (n,) integers.
        bound: C.
        rounds: at most so many.
        tolerance: largest violation that is left, where the margin is 1.

    Raises:
        UserError: a violation above the tolerance is left after ``rounds``.
    """
    n, n_classes = len(features), int(labels.max()) + 1
    onehot = np.eye(n_classes)[labels]
    upper = bound * onehot
    alpha, weights = np.zeros((n, n_classes)), np.zeros((n_classes, features.shape[1]))
    squares = (features**2).sum(1)
    generator = np.random.default_rng(derive_seed(0, "dualda"))
    worst = np.inf
    for _ in range(rounds):
        slope = features @ weights.T + 1 - onehot
        # mass can leave any class, and go to one below its bound
        violation = slope.max(1) - np.where(alpha < upper, slope, np.inf).min(1)
        worst = violation.max(initial=0.0)
        if worst <= tolerance:
            return alpha
        active = np.flatnonzero(violation > 0.1 * tolerance)
        for _ in range(_SWEEPS):
            for i in generator.permutation(active):
                h, old = features[i], alpha[i]
                target = old * squares[i] - (weights @ h + 1 - onehot[i])
                new = project(target / squares[i], int(labels[i]), bound)
                weights += (new - old)[:, None] * h
                alpha[i] = new
        weights = alpha.T @ features  # what rounding has added is dropped
    raise UserError(
        f"dualda: the SVM has not converged after {rounds} rounds (violation {worst:.1e}): lower 'cost' or raise 'rounds'"
    )


def project(point: Matrix, label: int, bound: float) -> Matrix:
    """Return the nearest point with sum 0 and entries at most ``bound`` at the label and 0 elsewhere.

    It is ``min(point - shift, upper)`` for the shift that makes the sum vanish. With ``excess = point - upper``,
    entries above the shift are at their bound, so the shift is found among the sorted excesses.
    """
    upper = np.zeros_like(point)
    upper[label] = bound
    excess = point - upper
    ordered = np.sort(excess)
    # below the k-th smallest only the first k entries are free: sum of those, less k shifts, plus all bounds is 0
    shifts = (np.cumsum(ordered) + bound) / np.arange(1, len(point) + 1)
    free = int(np.count_nonzero(ordered < shifts))
    found: Matrix = np.minimum(point - shifts[free - 1], upper)
    if found[label] < _ROUNDING * bound:
        found[:] = 0.0
    return found


def _with_bias(representations: Tensor) -> Tensor:
    return torch.cat([representations, representations.new_ones(len(representations), 1)], dim=1)
