"""Segments of training, and the walk back through them that SOURCE and its form for Adam share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from proponent.chunking import chunks
from proponent.methods.shared.needs import Curvature, KroneckerBasis, Network
from proponent.methods.shared.problem_size import ProblemSize


@dataclass
class Segment:
    """A part of training with constant curvature and gradients."""

    basis: KroneckerBasis
    """Eigenbasis of the curvature, of gradients that were multiplied by ``scale``."""
    decay: Tensor | float
    """Added to the eigenvalues: weight decay, a number or per coordinate."""
    models: Iterable[tuple[Curvature, float]]
    """Models at which gradients are taken, with their weights; iterated over once."""
    scale: Tensor | float = 1.0
    """Square root of the factors by which the optimiser multiplies gradients, (n_parameters,)."""


_VECTORS = 5
"""Vectors per query: coordinates, what is carried, what has been reached, and two copies while layers are rotated."""


def memory_of_walk(size: ProblemSize, queries: int) -> float:
    """Return the memory of :func:`walk` for ``queries`` queries at a time, in MiB."""
    return size.kronecker() + size.vectors(_VECTORS * queries) + size.scores()


def walk(
    network: Network,
    segments: int,
    checkpoints: int,
    describe: Callable[[Network, list[float]], Segment],
    at_a_time: int,
) -> Tensor:
    """Return the effect of the examples on the targets, (n_query, n_train), walking from the last segment to the first.

    Where training has stages, each is cut into segments of its own. Its examples' mean gradient and curvature count there
    and nowhere else.

    With P the squared scale, H the curvature and M = P^(1/2) H P^(1/2), a segment of length E carries u = grad f back to
    ``P^(-1/2) exp(-E M) P^(1/2) u``. The effects of its examples are the inner products of the gradients of their losses
    with ``P^(1/2) (1 - exp(-E M)) / M P^(1/2) u``.

    Args:
        network: one member.
        segments: number of segments into which a stage is cut.
        checkpoints: number of checkpoints of a stage that are used, the last ones.
        describe: function from a stage's network and one weight per checkpoint to the segment.
        at_a_time: number of queries that are carried together; every block of queries walks anew.
    """
    return torch.cat(
        [
            _walk(network, segments, checkpoints, describe, rows)
            for rows in chunks(len(network.at(1.0).query), at_a_time)
        ]
    )


def _walk(
    network: Network,
    segments: int,
    checkpoints: int,
    describe: Callable[[Network, list[float]], Segment],
    rows: slice,
) -> Tensor:
    """Return the effect of the examples on the targets of some queries."""
    final = network.at(1.0)
    carried = final.query.slice(rows).dense()
    scores = carried.new_zeros(len(carried), final.n_train)
    del final
    durations = network.durations
    stops = [stage.checkpoint + 1 for stage in network.stages]
    stages = list(zip(network.stages, [0, *stops[:-1]], stops, strict=True))
    for stage, first, stop in reversed(stages):
        own, before = stage.network, durations[first - 1] if first else 0.0
        lengths = [duration - before for duration in durations[first:stop]]
        length = lengths[-1] / segments
        for weights in reversed(shares(lengths, segments, checkpoints)):
            segment = describe(own, [0.0] * first + weights + [0.0] * (len(durations) - stop))
            decayed = (segment.basis.eigenvalues + segment.decay) * length
            # In place and released early: each of these tensors has the size of all gradients of the queries.
            coordinates = segment.basis.to_eigenbasis(carried.mul_(segment.scale))
            del carried
            reached = segment.basis.from_eigenbasis(coordinates * (length * _mean_decay(decayed)))
            reached.mul_(segment.scale)
            for model, weight in segment.models:
                loss_weight = model.loss_weight * (weight / model.n_train)
                scores[:, stage.examples] += model.train.inner_dense(reached).T * loss_weight
            del reached
            decayed = coordinates.mul_(torch.exp(-decayed))
            carried = segment.basis.from_eigenbasis(decayed).div_(segment.scale)  # noqa: F841 - read by the next round
            del coordinates, decayed
    return scores


def shares(durations: list[float], segments: int, checkpoints: int) -> list[list[float]]:
    """Return, for each segment, one weight per saved checkpoint; the weights of a segment add up to 1.

    Args:
        durations: length of training up to each checkpoint, increasing.
        segments: number of segments, of equal length.
        checkpoints: number of checkpoints that count, the last ones.

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


def at_checkpoints(network: Network, weights: list[float]) -> Iterable[tuple[Curvature, float]]:
    """Yield the curvature at each checkpoint with a positive weight, and the weight."""
    for index, weight in enumerate(weights):
        if weight:
            yield network.checkpoint(index), weight


def _mean_decay(x: Tensor) -> Tensor:
    """Return (1 - exp(-x)) / x, and 1 at 0."""
    tiny = torch.finfo(x.dtype).eps
    return torch.where(x > tiny, -torch.expm1(-x) / x.clamp_min(tiny), 1.0)
