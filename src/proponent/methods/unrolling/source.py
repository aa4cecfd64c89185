"""SOURCE: unrolling by segments of training, each with constant gradients and curvature.

(Bae et al. 2024, "Training data attribution via approximate unrolled differentiation", equations 16 and 20-24.)

Training of length T (sum of the learning rates, divided by 1 - momentum) is divided into segments l of length E_l. Within
a segment, the Gauss-Newton matrix H_l and the gradients of the losses are approximated by constants, their means over the
checkpoints of the segment. The effect of a step then decays by ``exp(-E H)`` along a segment, and the steps of a segment
add up to ``(1 - exp(-E H)) / H`` times the gradient. From the last segment to the first, starting at
u = grad f_q(theta_T):

    s_l = (1 - exp(-E_l H_l)) / H_l  u,    scores[q, i] -= (1/n) <s_l, mean_c grad loss_i(theta_c)>,    u <- exp(-E_l H_l) u

H is the Gauss-Newton matrix in the EK-FAC approximation (Kronecker factors and eigenvalues averaged over the segment's
checkpoints), plus the weight decay. No damping is needed, because the sum stops growing at 1/E. One segment with E to
infinity is the influence function; E to 0 is E times GradDot.

A saved checkpoint represents the training since the previous one, and its weight in a segment is the share of that part
in the segment. Segments are equally long. With ``average="parameters"`` (Fast-SOURCE) the parameters of a segment's
checkpoints are averaged instead, and gradients and curvature are those of the mean.

If training has stages, each is divided into segments of its own. H and n are those of the stage's examples; all others
have no gradient there.

Shapes: (n_query, n_train). Cost: per segment, an EK-FAC basis from two passes over its checkpoints, and their gradients;
the queries' gradients are dense, (n_query, n_parameters). Fails where gradients change direction within a segment.
``source_adam`` is the version for Adam; this one is for SGD with or without momentum.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.methods.shared.label_draws import label_draws
from proponent.methods.shared.needs import Network
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.segments import Segment, at_checkpoints, memory_of_walk, walk
from proponent.seeds import derive_seed

CHECKPOINTS = 1
OPTIMIZERS = ("sgd",)
RANGES = {"segments": "[1, inf)", "checkpoints": "[1, inf)"}


def attribute(
    network: Network,
    *,
    segments: int = 3,
    checkpoints: int = 6,
    average: Literal["gradients", "parameters"] = "gradients",
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the effect of the examples on the targets by unrolling, (n_query, n_train).

    Args:
        network: one member along its training.
        segments: number of segments of training, or of each of its stages.
        checkpoints: number of checkpoints per stage, the last ones; the first of them represents all training before it.
        average: quantity that is averaged over the checkpoints of a segment.
        samples: label draws per example, for models with more than 32 outputs; the expectation is exact for others.
        seed: seed of the draws, mixed with the index of the member.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    final = network.at(1.0)
    size = size_of_network(final)
    at_a_time = final.budget.largest(lambda k: memory(size, k), size.n_query, "source")
    decay, draws = final.weight_decay, label_draws(final.n_outputs, samples)
    stream = derive_seed(seed, "source", network.member)

    def describe(stage: Network, weights: list[float]) -> Segment:
        if average == "gradients":
            basis = stage.kronecker(weights, draws, stream)
            return Segment(basis, decay, at_checkpoints(stage, weights))
        mean = stage.blend(weights)
        return Segment(mean.kronecker(draws, stream), decay, [(mean, 1.0)])

    return walk(network, segments, checkpoints, describe, at_a_time)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB."""
    return memory_of_walk(size, queries)
