"""SOURCE: unrolling by segments of training, each with constant gradients and curvature.

(Bae et al. 2024, "Training data attribution via approximate unrolled differentiation", equations 16 and 20-24.)

Training of length T (sum of the learning rates, over 1 - momentum) is cut into segments l of length E_l. Inside
one, the Gauss-Newton matrix H_l and the gradients of the losses are taken for constant, their means over the
segment's checkpoints. A step's effect then decays by ``exp(-E H)`` on its way through a segment, and the steps of a
segment add up to ``(1 - exp(-E H)) / H`` of the gradient. From the last segment to the first, with u = grad f_q(theta_T):

    s_l = (1 - exp(-E_l H_l)) / H_l  u,    scores[q, i] -= (1/n) <s_l, mean_c grad loss_i(theta_c)>,    u <- exp(-E_l H_l) u

H is EK-FAC's (:mod:`proponent.methods.ekfac`), of factors and eigenvalues averaged over the segment's checkpoints, plus
the weight decay. No damping is needed: 1/E is where the sum stops growing. One segment and E to infinity is the influence
function, E to 0 is E times GradDot.

A saved checkpoint stands for the training since the one before, and counts in a segment by how much of that lies in
it. Segments are equally long. ``average="parameters"`` (Fast-SOURCE) averages the parameters of a segment's checkpoints
instead, and takes gradients and curvature once, there.

Shapes: (n_query, n_train). Cost: for each segment an EK-FAC basis, from two passes over its checkpoints, and their
gradients; the queries' gradients are written out, (n_query, n_parameters). Fails where gradients turn fast within a
segment; derived for SGD with momentum, and refused for other optimisers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.inputs import Curvature, Network
from proponent.seeds import derive_seed

CHECKPOINTS = 1
OPTIMIZERS = ("sgd",)
_EXACT_OUTPUTS = 32
"""As in :mod:`proponent.methods.ekfac`."""


def attribute(
    network: Network,
    *,
    segments: int = 3,
    checkpoints: int = 6,
    average: Literal["gradients", "parameters"] = "gradients",
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the effect of the examples on the target by unrolling, (n_query, n_train).

    Args:
        network: one member.
        segments: into which training is cut.
        checkpoints: how many are used, the last ones; the first of them stands for all training before it.
        average: what is averaged over the checkpoints of a segment.
        samples: draws of labels an example, for models with more than 32 outputs.
        seed: of the draws, mixed with the number of the member.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    final = network.at(1.0)
    carried, n_train, decay = final.query.dense(), final.n_train, final.weight_decay
    draws = samples if final.n_outputs > _EXACT_OUTPUTS else 0
    del final
    scores = carried.new_zeros(len(carried), n_train)
    length = network.durations[-1] / segments
    for weights in reversed(shares(network.durations, segments, checkpoints)):
        if average == "parameters":
            mean = network.blend(weights)
            basis = mean.kronecker(draws, derive_seed(seed, "source", network.member))
            models = iter([(mean, 1.0)])
        else:
            basis = network.kronecker(weights, draws, derive_seed(seed, "source", network.member))
            models = _checkpoints(network, weights)
        decayed = (basis.eigenvalues + decay).mul_(length)
        coordinates = basis.turn(carried)
        reached = basis.back(coordinates * (length * _mean_decay(decayed)))
        for model, weight in models:
            scores += model.train.inner_dense(reached).T * (model.loss_weight * (weight / n_train))
        carried = basis.back(coordinates.mul_(torch.exp(-decayed)))
    return scores


def shares(durations: list[float], segments: int, checkpoints: int) -> list[list[float]]:
    """Return, for each segment, how much each saved checkpoint counts in it; the shares of a segment add up to 1.

    Args:
        durations: length of training up to each checkpoint, rising.
        segments: equally long.
        checkpoints: how many of the last ones count.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    if segments < 1 or checkpoints < 1:
        raise ValueError(f"segments and checkpoints must be at least 1, not {segments} and {checkpoints}")
    first = max(0, len(durations) - checkpoints)
    starts = [0.0, *durations[first:-1]]
    length = durations[-1] / segments
    found = []
    for segment in range(segments):
        low, high = segment * length, (segment + 1) * length
        overlaps = [
            max(0.0, min(stop, high) - max(start, low))
            for start, stop in zip(starts, durations[first:], strict=True)
        ]
        total = sum(overlaps)
        found.append([0.0] * first + [overlap / total for overlap in overlaps])
    return found


def _checkpoints(network: Network, weights: list[float]) -> Iterator[tuple[Curvature, float]]:
    for index, weight in enumerate(weights):
        if weight:
            yield network.checkpoint(index), weight


def _mean_decay(x: Tensor) -> Tensor:
    """Return (1 - exp(-x)) / x, and 1 at 0."""
    tiny = torch.finfo(x.dtype).eps
    return torch.where(x > tiny, -torch.expm1(-x) / x.clamp_min(tiny), 1.0)
