"""SOURCE: unrolling by segments of training, each with constant gradients and curvature.

(Bae et al. 2024, "Training data attribution via approximate unrolled differentiation", equations 16 and 20-24.)

Training of length T (sum of the learning rates, over 1 - momentum) is cut into segments l of length E_l. Inside
one, the Gauss-Newton matrix H_l and the gradients of the losses are taken for constant, their means over the
segment's checkpoints. A step's effect then decays by ``exp(-E H)`` on its way through a segment, and the steps of a
segment add up to ``(1 - exp(-E H)) / H`` of the gradient. From the last segment to the first, with u = grad f_q(theta_T):

    s_l = (1 - exp(-E_l H_l)) / H_l  u,    scores[q, i] -= (1/n) <s_l, mean_c grad loss_i(theta_c)>,    u <- exp(-E_l H_l) u

H is EK-FAC's (:mod:`proponent.methods.influence.ekfac`), of factors and eigenvalues averaged over the segment's checkpoints, plus
the weight decay. No damping is needed: 1/E is where the sum stops growing. One segment and E to infinity is the influence
function, E to 0 is E times GradDot.

A saved checkpoint stands for the training since the one before, and counts in a segment by how much of that lies in
it. Segments are equally long. ``average="parameters"`` (Fast-SOURCE) averages the parameters of a segment's checkpoints
instead, and takes gradients and curvature once, there.

Where training has stages, each is cut into segments, of its own learning rates. H and n are those of the stage's own
examples; the others have no gradient there.

Shapes: (n_query, n_train). Cost: for each segment an EK-FAC basis, from two passes over its checkpoints, and their
gradients; the queries' gradients are written out, (n_query, n_parameters). Fails where gradients turn fast within a
segment; for SGD with or without momentum; :mod:`proponent.methods.unrolling.source_adam` is for Adam.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.methods.shared.needs import Network
from proponent.methods.shared.segments import Segment, at_checkpoints, walk
from proponent.seeds import derive_seed

CHECKPOINTS = 1
OPTIMIZERS = ("sgd",)
_EXACT_OUTPUTS = 32
"""As in :mod:`proponent.methods.influence.ekfac`."""


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
        segments: into which training, or each of its stages, is cut.
        checkpoints: how many are used, the last ones of a stage; the first of them stands for all of it before.
        average: what is averaged over the checkpoints of a segment.
        samples: draws of labels an example, for models with more than 32 outputs.
        seed: of the draws, mixed with the number of the member.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    final = network.at(1.0)
    decay, draws = final.weight_decay, samples if final.n_outputs > _EXACT_OUTPUTS else 0
    drawn = derive_seed(seed, "source", network.member)

    def describe(stage: Network, weights: list[float]) -> Segment:
        if average == "gradients":
            basis = stage.kronecker(weights, draws, drawn)
            return Segment(basis, decay, at_checkpoints(stage, weights))
        mean = stage.blend(weights)
        return Segment(mean.kronecker(draws, drawn), decay, [(mean, 1.0)])

    return walk(network, segments, checkpoints, describe)
