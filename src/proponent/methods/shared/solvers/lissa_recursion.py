"""LiSSA's recursion: inverse-curvature products from a Neumann series over random batches.

(Agarwal et al. 2017, "Second-order stochastic optimization for machine learning in linear time".)

For the curvature C of the mean loss, lambda > 0 and a scale s, the recursion

    h <- v + h - (C_b + lambda) h / s

starts at ``h = v`` and ends, over random batches b, near ``s (C + lambda)^-1 v``. It converges if ``C_b + lambda < 2 s``
for every batch, so s has to be measured: see :func:`largest_curvature`. An iterate of a converging recursion cannot be
longer than ``(t + 1) ||v||`` after t steps; one that is longer has diverged, and is an error.

Written here because the Neumann series of libraries (curvlinops, AllenNLP) leave the scale to the user and return
numbers of any size where it is too small, and because all queries share each batch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.resolution import check_finite
from proponent.methods.shared.solvers.lanczos import largest_eigenvalue
from proponent.progress import progress
from proponent.seeds import derive_seed

_BATCHES_MEASURED = 8
_STEPS_BETWEEN_CHECKS = 10

Product = Callable[[Tensor, Tensor | None], Tensor]
"""From vectors (k, p) and indices of examples (None for all) to the products with the curvature of these, (k, p)."""


def random_batches(
    n_train: int, batch: int, count: int, generator: torch.Generator
) -> Iterator[Tensor | None]:
    """Yield the indices of ``count`` batches drawn without replacement; None, for all, if ``batch`` is at least n_train."""
    for _ in range(count):
        yield None if batch >= n_train else torch.randperm(n_train, generator=generator)[:batch]


def solve(
    product: Product,
    queries: Tensor,
    batches: Iterable[Tensor | None],
    *,
    shift: float,
    scale: float,
    depth: int,
) -> Tensor:
    """Return approximate solutions of ``(C + shift I) x = v`` for each row v of ``queries``, (k, p).

    Args:
        product: products with the curvature of some examples.
        queries: right-hand sides, (k, p).
        batches: indices of the examples of each step.
        shift: lambda, absolute.
        scale: s, absolute.
        depth: number of steps, as many as there are batches.

    Raises:
        UserError: the recursion diverged.
    """
    lengths = queries.norm(dim=1)
    check_finite(lengths)
    found = queries.clone()
    for done, examples in enumerate(progress(batches, "LiSSA, steps", depth), start=1):
        curved = product(found, examples)
        # in place: new memory of this size would cost more than the product does
        found.mul_(1 - shift / scale).add_(queries).sub_(curved, alpha=1 / scale)
        if done % _STEPS_BETWEEN_CHECKS == 0 or done == depth:
            longest = (found.norm(dim=1) / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)).max().item()
            if not longest <= 1.01 * (done + 1):
                raise UserError(f"the recursion diverged within {done} steps: raise 'scale' or 'batch'")
    return found / scale


def largest_curvature(product: Product, like: Tensor, n_train: int, batch: int, seed: int) -> float:
    """Return the largest eigenvalue found on the full data and on some batches.

    Args:
        product: products with the curvature of some examples.
        like: (k, p), of the dtype and on the device of the vectors that ``product`` takes.
        n_train: number of training examples.
        batch: number of examples per batch; at least n_train for all of them.
        seed: seed of the start vector and of the batches.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "scale"))
    start = torch.randn(1, like.shape[1], generator=generator).to(like)
    some = [] if batch >= n_train else random_batches(n_train, batch, _BATCHES_MEASURED, generator)
    return max(largest_eigenvalue(_over(product, examples), start) for examples in (None, *some))


def _over(product: Product, examples: Tensor | None) -> Callable[[Tensor], Tensor]:
    return lambda rows: product(rows, examples)
