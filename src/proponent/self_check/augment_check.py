"""Augmentation that is not reproducible, or not a change of each example alone."""

from __future__ import annotations

import torch

from proponent.rows import Rows, describe_row, named_tensors, rows_equal
from proponent.self_check.batch_sizes import batch_sizes
from proponent.self_check.subject import Subject
from proponent.settings.batch_augmentation import Augment
from proponent.settings.model_diagnosis import random_generators_used
from proponent.torch_failures import FAILURES

_LARGEST = 512
"""Largest batch that is tried."""
_SEEDS = range(4)


def refuse_augment(subject: Subject) -> None:
    """Refuse an augmentation that fails, changes its input or the form of a row, is not reproducible, or mixes examples.

    Raises:
        UserError: names what is wrong with the result.
    """
    augment = subject.augment
    if augment is None:
        return
    for size in sorted(batch_sizes(subject)):
        if size > min(_LARGEST, len(subject.data.x_train)):
            continue
        x = subject.data.x_train[:size]
        for seed in _SEEDS:
            _refuse(subject, augment, x, seed)


def _refuse(subject: Subject, augment: Augment, x: Rows, seed: int) -> None:
    given = x.clone()
    try:
        found = augment(given, seed, 0)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise subject.problem(
            f"augment fails on a batch of {len(x)} examples of shape {describe_row(x)}: {reason}"
        ) from error
    if not rows_equal(given, x):
        raise subject.problem("augment changes its input in place; let it work on a copy")
    before, after = (
        {name: (tuple(value.shape), value.dtype) for name, value in named_tensors(rows).items()}
        for rows in (x, found)
    )
    if before != after:
        raise subject.problem(
            f"augment returns rows of {describe_row(found)} for rows of {describe_row(x)} in a batch of {len(x)}; return "
            "the same number of rows, of the same shape and type"
        )
    drawn = random_generators_used(lambda: augment(x.clone(), seed, 0))
    if drawn or not rows_equal(found, augment(x.clone(), seed, 0)):
        source = f" ({drawn[0]} here)" if drawn else ""
        raise subject.problem(
            f"augment draws random numbers from another source than its generator{source}; pass generator=generator to "
            "torch.rand and the like"
        )
    if _mixes(augment, x, found, seed):
        raise subject.problem(
            "augment mixes the examples of a batch: a row changes with the inputs of another one, so that the effect of an "
            "example cannot be separated; let each row depend on its own example and random numbers only"
        )


def _mixes(augment: Augment, x: Rows, found: Rows, seed: int) -> bool:
    """Return whether rows change where the first one is another example, or the first where all others are."""
    other = torch.arange(len(x))
    other[0] = len(x) - 1
    alone = torch.zeros(len(x), dtype=torch.int64)
    return not (
        rows_equal(found[1:], augment(x[other], seed, 0)[1:])
        and rows_equal(found[:1], augment(x[alone], seed, 0)[:1])
    )
