"""SOURCE for Adam and AdamW: :mod:`proponent.methods.unrolling.source` with gradients scaled as the optimiser scales them.

(Bae et al. 2024, "Training data attribution via approximate unrolled differentiation", appendix on optimisers.)

Adam steps along P g, where P = 1 / (sqrt(v) + eps) is diagonal and changes slowly, v being the mean of squared
gradients without its bias; its first moment only delays, as momentum does. Inside a segment P is taken for constant: its
mean over the segment's checkpoints. Training then follows ``exp(-E P H)``, whose curvature is symmetric in the
parameters times P^(-1/2): M = P^(1/2) H P^(1/2), see :func:`proponent.methods.shared.segments.walk`. Its basis is that of K-FAC
with the factors' rows and columns scaled by the best that a Kronecker product can say of P, and the eigenvalues there are
exact, of gradients times P^(1/2). AdamW's weight decay acts on parameters as they are and adds to M; Adam's goes
through P, and adds its mean over each layer.

Shapes: (n_query, n_train). Cost: that of SOURCE, gradients of all outputs written out once a checkpoint, and the
training again, since v is in no checkpoint. Fails as SOURCE does, and early in training, when v moves fast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Network, Replay
from proponent.methods.shared.segments import Segment, at_checkpoints, walk
from proponent.seeds import derive_seed

CHECKPOINTS = 1
OPTIMIZERS = ("adam", "adamw")
_EXACT_OUTPUTS = 32
"""As in :mod:`proponent.methods.influence.ekfac`."""


def attribute(
    network: Network,
    replay: Replay,
    *,
    segments: int = 3,
    checkpoints: int = 6,
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the effect of the examples on the target by unrolling, (n_query, n_train).

    Args:
        network: one member.
        replay: of its training, for the optimiser's second moments.
        segments: into which training, or each of its stages, is cut.
        checkpoints: how many are used, the last ones of a stage; the first of them stands for all of it before.
        samples: draws of labels an example, for models with more than 32 outputs.
        seed: of the draws, mixed with the number of the member.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    final = network.at(1.0)
    decay, draws = final.weight_decay, samples if final.n_outputs > _EXACT_OUTPUTS else 0
    drawn = derive_seed(seed, "source", network.member)

    def describe(stage: Network, weights: list[float]) -> Segment:
        factors = torch.stack(
            [
                weight * replay.at(fraction).preconditioner()
                for weight, fraction in zip(weights, network.fractions, strict=True)
                if weight
            ]
        ).sum(0)
        scale = factors.sqrt()
        basis = stage.kronecker(weights, draws, drawn, scale)
        shift = decay if replay.decay_is_decoupled else decay * basis.layer_means(factors)
        return Segment(basis, shift, at_checkpoints(stage, weights), scale)

    return walk(network, segments, checkpoints, describe)
