"""Influence functions by LiSSA, a Neumann series over random batches of the training set.

(Agarwal et al. 2017, "Second-order stochastic optimization for machine learning in linear time"; Koh & Liang
2017, section 3.)

The same score as in :mod:`proponent.methods.influence.if_exact`,

    scores[q, i] = (w_i / n) grad f_q^T (C + lambda I)^-1 grad f_i,      lambda = weight_decay + damping / E

with the inverse from the recursion ``h <- v + h - (C_b + lambda) h / s``, which starts at ``h = v = grad f_q``
and ends, for batches b and a scale s, near ``s (C + lambda)^-1 v``. It settles if ``C_b + lambda < 2 s`` for
every batch. So s is measured, not guessed: ``scale`` times the largest eigenvalue found on the full data and
on some batches. An iterate of a recursion that settles cannot be longer than ``(t + 1) ||v||`` after t steps;
one that is has diverged, and is an error. Where the series was cut off too early, the residual on the full
data says so, as a warning: directions of curvature below about s / depth then look damped by that much.

Shapes: (n_query, n_train). Cost: ``depth * repeats`` products of all queries with the curvature of a batch;
no damping shares them. Fails on negative curvature, and slowly everywhere: conjugate gradients need 5 to 30
products with the full curvature for the same answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.lanczos import largest_eigenvalue
from proponent.methods.shared.needs import Curvature, Network
from proponent.methods.shared.solvers import keep
from proponent.progress import progress
from proponent.seeds import derive_seed

_BATCHES_MEASURED = 8
_STEPS_BETWEEN_CHECKS = 10
_RESIDUAL_TO_MENTION = 0.1


def attribute(
    network: Network,
    *,
    curvature: Literal["ggn", "hessian"] = "ggn",
    checkpoint: float = 1.0,
    damping: float = 1.0,
    depth: int = 500,
    batch: int = 32,
    repeats: int = 1,
    scale: float = 1.1,
    seed: int = 0,
) -> Tensor:
    """Return the influence on the target, (n_query, n_train).

    Args:
        network: one member.
        curvature: C above.
        checkpoint: fraction of training.
        damping: in units of 1/E.
        depth: steps of the recursion.
        batch: examples of a step, drawn without replacement; at least n_train for all of them.
        repeats: recursions with other batches, averaged.
        scale: s over the largest eigenvalue that was measured.
        seed: of the batches, mixed with the number of the member.

    Raises:
        UserError: the recursion diverged.
    """
    model = network.at(checkpoint)
    product = model.ggn_product if curvature == "ggn" else model.hessian_product
    shift = model.weight_decay + damping / model.duration
    stream = derive_seed(seed, "if_lissa", network.member)
    measured = keep(model, (curvature, batch, stream), lambda: _largest(model, product, batch, stream))
    step = scale * (measured + shift)
    queries = model.query.dense()
    generator = torch.Generator().manual_seed(stream)
    solved = torch.zeros_like(queries)
    for _ in range(repeats):
        solved += _recursion(model, product, queries, shift, step, depth, batch, generator) / repeats
    left = queries - product(solved) - shift * solved
    residual = (left.norm(dim=1) / queries.norm(dim=1).clamp_min(torch.finfo(left.dtype).tiny)).median()
    if residual > _RESIDUAL_TO_MENTION:
        warnings.warn(
            f"if_lissa: median residual {residual:.2g} after {depth} steps; more depth or damping, a larger batch",
            stacklevel=2,
        )
    return model.train.inner_dense(solved).T * (model.loss_weight / model.n_train)


def _recursion(
    model: Curvature,
    product: Callable[..., Tensor],
    queries: Tensor,
    shift: float,
    step: float,
    depth: int,
    batch: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the approximate solutions of one run of the recursion, of the shape of ``queries``."""
    bound = queries.norm(dim=1)
    found = queries.clone()
    for done in progress(range(1, depth + 1), "LiSSA, steps"):
        bent = product(found, _draw(model, batch, generator))
        # in place: new memory of this size would cost more than the product does
        found.mul_(1 - shift / step).add_(queries).sub_(bent, alpha=1 / step)
        if done % _STEPS_BETWEEN_CHECKS == 0 or done == depth:
            longest = (found.norm(dim=1) / bound.clamp_min(torch.finfo(bound.dtype).tiny)).max().item()
            if not longest <= 1.01 * (done + 1):
                raise UserError(
                    f"if_lissa: the recursion diverged within {done} steps: raise 'scale' or 'batch' "
                    "(or 'damping', with the Hessian, whose curvature may be negative)"
                )
    return found / step


def _draw(model: Curvature, batch: int, generator: torch.Generator) -> Tensor | None:
    if batch >= model.n_train:
        return None
    return torch.randperm(model.n_train, generator=generator)[:batch]


def _largest(model: Curvature, product: Callable[..., Tensor], batch: int, seed: int) -> float:
    """Return the largest curvature that was met, on the full data and on some batches."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "scale"))
    start = torch.randn(1, model.n_parameters, generator=generator).to(model.loss_weight)
    batches = (
        [None]
        if batch >= model.n_train
        else [_draw(model, batch, generator) for _ in range(_BATCHES_MEASURED)]
    )
    return max(largest_eigenvalue(partial(product, examples=some), start) for some in (None, *batches))
