"""TRAK over cheap variants of each member (Deng et al. 2024, "Efficient ensembles improve training data attribution").

Independent members cost a training each. Instead, each member is replaced by several networks: itself with some hidden
units dropped (*dropout ensemble*: nothing is trained), or itself with low-rank adapters trained for a few epochs
(*LoRA ensemble*: only gradients with respect to the adapters count). Kernel and weights are averaged over variants
*separately*, as they are over members:

    scores = mean over members and variants (kernel) * mean over members and variants (w)

with both as in :mod:`proponent.methods.trak.trak`, exact.

Shapes: kernel (n_query, n_train), weights (n_train,). Cost: for each variant the gradients, a Gram matrix and one
Cholesky factorisation, and for adapters their training; only the members themselves are trained fully. Variants of
one member share the effect of that member's seed, so they help less than the same number of members. Fails for linear
models, which have no hidden units to drop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import Network, TargetPair, Workspace
from proponent.methods.shared.problem_size import ProblemSize, size_of_network
from proponent.methods.shared.trak_kernel import memory_of_kernel, trak_kernel
from proponent.progress import progress
from proponent.seeds import derive_seed

USES = {"kind": {"dropout": "network.dropped", "lora": "network.adapted"}}
RANGES = {
    "variants": "[1, inf)",
    "drop": "[0, 1)",
    "rank": "[1, inf)",
    "epochs": "[0, inf)",
    "learning_rate": "(0, inf)",
}


def attribute(
    network: Network,
    workspace: Workspace,
    *,
    kind: Literal["dropout", "lora"] = "dropout",
    variants: int = 10,
    drop: float = 0.1,
    rank: int = 8,
    epochs: int = 2,
    learning_rate: float = 0.001,
    damping: float = 1.0,
    checkpoint: float = 1.0,
    weighting: Literal["none", "sqrt", "full"] = "none",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return a member's mean kernel (n_query, n_train) and mean weights (n_train,) over its variants.

    Args:
        network: one member.
        workspace: announced dampings, and the means for all of them.
        kind: kind of the variants.
        variants: number of variants.
        drop: share of the hidden units that a dropout variant lacks.
        rank: rank of the adapters.
        epochs: number of epochs for which adapters are trained.
        learning_rate: learning rate with which adapters are trained.
        damping: lambda, in units of the mean diagonal of each Gram matrix.
        checkpoint: fraction of training.
        weighting: R of :mod:`proponent.methods.trak.trak`.
        seed: seed of masks and adapters, mixed with the index of the member.

    Raises:
        UserError: the network has nothing to drop or to adapt, or the damping is too small.
    """
    model, grid = network.at(checkpoint), workspace.grid_of(damping)
    size = size_of_network(model, dampings=len(grid))
    model.budget.require(memory(size, size.n_query, variants=variants), "trak_variants")

    def pairs() -> Iterator[TargetPair]:
        for variant in progress(range(variants), f"variants of member {network.member}"):
            stream = derive_seed(seed, "trak-variants", kind, network.member, variant)
            if kind == "dropout":
                yield model.dropped(drop, stream)
            else:
                yield model.adapted(rank, epochs, learning_rate, stream)

    means = workspace.keep(
        model.query,
        (kind, variants, drop, rank, epochs, learning_rate, weighting, seed, grid),
        lambda: _means(pairs(), network.member, weighting, grid),
    )
    return means[grid.index(damping)]


def memory(size: ProblemSize, queries: int, *, variants: int) -> float:
    """Return the memory in MiB: one variant's kernel, and the kernels of all variants and dampings."""
    return memory_of_kernel(size) + size.scores(variants * size.dampings + 2) + size.pass_mib


def _means(
    pairs: Iterator[TargetPair], member: int, weighting: str, dampings: tuple[float, ...]
) -> list[tuple[Tensor, Tensor]]:
    """Return mean kernel and mean weights per damping; one Gram matrix of each variant serves all of them."""
    kernels: list[list[Tensor]] = [[] for _ in dampings]
    weights = []
    own = Workspace(dampings)  # the means above are the one value that the method's workspace keeps
    for pair in pairs:
        kernel = trak_kernel(pair, own, member=member, weighting=weighting)
        for found, damping in zip(kernels, dampings, strict=True):
            found.append(kernel.cross(damping))
        weights.append(pair.loss_weight)
    mean = torch.stack(weights).mean(0)
    return [(torch.stack(found).mean(0), mean) for found in kernels]
