"""SOURCE for Adam and AdamW, with gradients scaled as by the optimiser.

(Bae et al. 2024, "Training data attribution via approximate unrolled differentiation", appendix on optimisers.)

Adam steps along P g, where P = 1 / (sqrt(v) + eps) is diagonal and changes slowly, and v is the mean of squared gradients
with its bias corrected; the first moment only delays the steps, as momentum does. Within a segment of training (see
``source``) P is approximated by a constant, its mean over the segment's checkpoints. Training then follows
``exp(-E P H)``, whose curvature is symmetric in the parameters divided by P^(1/2): M = P^(1/2) H P^(1/2), see
:func:`proponent.methods.shared.segments.walk`. Its eigenbasis is that of K-FAC with the rows and columns of the factors
scaled by the best Kronecker approximation of P; the eigenvalues in it are exact, those of gradients times P^(1/2). The
weight decay of AdamW acts on the parameters themselves and is added to M. That of Adam is scaled by P, and its mean over
each layer is added.

Shapes: (n_query, n_train). Cost: that of SOURCE, the dense gradients of all outputs once per checkpoint, and a replay of
training, because checkpoints do not contain v. Fails as SOURCE does, and early in training, where v changes fast.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from proponent.methods.shared.label_draws import label_draws
from proponent.methods.shared.needs import Network, Replay
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.segments import Segment, at_checkpoints, memory_of_walk, walk
from proponent.seeds import derive_seed

CHECKPOINTS = 1
OPTIMIZERS = ("adam", "adamw")
RANGES = {"segments": "[1, inf)", "checkpoints": "[1, inf)"}


def attribute(
    network: Network,
    replay: Replay,
    *,
    segments: int = 3,
    checkpoints: int = 6,
    samples: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return the effect of the examples on the targets by unrolling, (n_query, n_train).

    Args:
        network: one member along its training.
        replay: training of the same member, for the optimiser's second moments.
        segments: number of segments of training, or of each of its stages.
        checkpoints: number of checkpoints per stage, the last ones; the first of them represents all training before it.
        samples: label draws per example, for models with more than 32 outputs; the expectation is exact for others.
        seed: seed of the draws, mixed with the index of the member.

    Raises:
        ValueError: fewer than one segment or checkpoint.
    """
    final = network.at(1.0)
    size = replace(size_of_network(final), steps=replay.n_steps, slots=replay.n_slots)
    at_a_time = final.budget.largest(lambda k: memory(size, k), size.n_query, "source_adam")
    decay, draws = final.weight_decay, label_draws(final.n_outputs, samples)
    stream = derive_seed(seed, "source", network.member)

    def describe(stage: Network, weights: list[float]) -> Segment:
        factors = torch.stack(
            [
                weight * replay.at(fraction).preconditioner()
                for weight, fraction in zip(weights, network.fractions, strict=True)
                if weight
            ]
        ).sum(0)
        scale = factors.sqrt()
        basis = stage.kronecker(weights, draws, stream, scale)
        shift = decay if replay.decay_is_decoupled else decay * basis.layer_means(factors)
        return Segment(basis, shift, at_checkpoints(stage, weights), scale)

    return walk(network, segments, checkpoints, describe, at_a_time)


def memory(size: ProblemSize, queries: int) -> float:
    """Return the memory for ``queries`` queries at a time, in MiB; the replay keeps states in addition."""
    return memory_of_walk(size, queries) + size.states() + size.vectors(4)
