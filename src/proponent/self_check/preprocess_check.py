"""Preprocessing of inputs that is not a plain function of each example."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proponent.rows import Rows, arguments_of, describe_row, rows_equal
from proponent.self_check.subject import Subject, close
from proponent.settings.model_diagnosis import random_generators_used
from proponent.settings.preprocessing import Preprocess, preprocess_of
from proponent.torch_failures import FAILURES

_ROWS = 8
_KEPT = (torch.int64, torch.bool)
"""Types of other tensors than numbers that a model can use: token numbers and masks."""


def refuse_preprocess(subject: Subject, model: nn.Module) -> None:
    """Refuse preprocessing that fails, changes its input, is random, or mixes examples, before the model hides the cause.

    Raises:
        UserError: names what is wrong with the result.
    """
    preprocess = preprocess_of(model)
    if preprocess is None:
        return
    x = subject.data.x_train[subject.some(_ROWS)]
    given = x.clone()
    try:
        together = _tensors(model, preprocess, given)
    except FAILURES as error:
        reason = " ".join(str(error).split())
        raise subject.problem(f"preprocess fails on examples of shape {describe_row(x)}: {reason}") from error
    if not rows_equal(given, x):
        raise subject.problem("preprocess changes its input in place; let it work on a copy")
    if not together or any(len(value) != len(x) for value in together):
        shapes = ", ".join(str(tuple(value.shape)) for value in together) or "no tensor"
        raise subject.problem(
            f"preprocess returns {shapes} for {len(x)} examples; return one row per example, in their order"
        )
    other = next(
        (value for value in together if not value.is_floating_point() and value.dtype not in _KEPT), None
    )
    if other is not None:
        raise subject.problem(
            f"preprocess returns {other.dtype}; return floating point numbers, for example x.float() / 255 (or token "
            "numbers in int64)"
        )
    if random_generators_used(lambda: _tensors(model, preprocess, x.clone())) or not _agree(
        together, _tensors(model, preprocess, x.clone())
    ):
        raise subject.problem(
            "preprocess is random: two calls on the same examples differ; use 'augment' for random changes in training"
        )
    alone = [_tensors(model, preprocess, x[row : row + 1].clone()) for row in range(len(x))]
    if not _agree(together, [torch.cat(rows) for rows in zip(*alone, strict=True)]):
        raise subject.problem(
            "preprocess gives an example other values alone than in a batch; compute statistics in the preprocess factory, "
            "not from the batch"
        )


def _tensors(model: nn.Module, preprocess: Preprocess, x: Rows) -> list[Tensor]:
    """Return the tensors that the model is given for some examples."""
    with torch.no_grad():
        args, kwargs = preprocess(model, *arguments_of(x))
    return [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]


def _agree(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        close(mine, theirs, 1e-5) for mine, theirs in zip(one, other, strict=True)
    )
