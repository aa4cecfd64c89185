"""Comparison of captured gradients with plain autograd, before any of them is used."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.rows import Rows, in_double, map_rows
from proponent.settings.model_diagnosis import diagnose, gradients_agree

if TYPE_CHECKING:
    from proponent.features.gradients.capture import Capture, Cotangents


def compare_with_autograd(capture: Capture, x: Rows, y: Tensor, cotangents: Cotangents) -> None:
    """Refuse a model whose captured gradients are not those of ``torch.autograd``, for the first, middle and last example.

    Gradients jump where a unit is at its kink: an input of a ReLU that is 0 up to rounding is positive in one pass and
    negative in another. Gradients in single precision that differ are therefore computed again in double precision.

    Args:
        capture: capture of the model.
        x: (n, ...) inputs.
        y: (n, ...) labels.
        cotangents: function that gives the vectors propagated back; the first one of each example is compared.

    Raises:
        UserError: shape or values of a parameter's gradient differ; the message names the parameter, the example's row
            in ``x`` and the cause.
    """
    rows = sorted({0, len(x) // 2, len(x) - 1})
    some, labels = x[rows], y[rows]
    found = _first_disagreement(capture, some, labels, cotangents)
    if found is None:
        return
    cause = diagnose(capture.module, capture.outputs, some)
    if cause is None and _agrees_in_double(capture, some, labels, cotangents):
        return
    place, name, problem = found
    raise UserError(
        cause
        or f"the captured gradient of the model's '{name}' {problem} for example {rows[place]}; compute this parameter's "
        "layer with other operations"
    )


def _first_disagreement(
    capture: Capture, x: Rows, y: Tensor, cotangents: Cotangents
) -> tuple[int, str, str] | None:
    """Return the first example whose gradients differ, the parameter and how they differ; None if all agree."""
    block, outputs = capture.gradients(x, y, cotangents)
    seeds = cotangents(outputs, y)
    repeats = seeds.shape[1]
    for row in range(len(x)):
        ordinary = capture.ordinary_gradient(x[row : row + 1], seeds[row, :1])
        name, problem = _disagreement(block.slice(slice(row * repeats, row * repeats + 1)), ordinary)
        if name:
            return row, name, problem
    return None


def _agrees_in_double(capture: Capture, x: Rows, y: Tensor, cotangents: Cotangents) -> bool:
    """Return whether all gradients agree in double precision; False where the model or its task cannot use it."""
    if any(value.dtype != torch.float32 for value in capture.parameters.values()):
        return False
    twin = copy.copy(capture)
    try:
        twin.module = copy.deepcopy(capture.module).double()
        twin.parameters = {name: value.double() for name, value in capture.parameters.items()}
        return _first_disagreement(twin, map_rows(x, in_double), in_double(y), cotangents) is None
    except (UserError, RuntimeError, TypeError):
        return False


def _disagreement(captured: FactoredGradients, ordinary: dict[str, Tensor]) -> tuple[str, str]:
    """Return the first parameter whose gradients differ, and how; empty strings if all agree."""
    parts = {name: part for part in captured.parts for name in part.names}
    largest = max(float(value.abs().max()) for value in ordinary.values() if value.numel())
    for name, expected in ordinary.items():
        if not expected.numel():
            continue
        size = expected.numel()
        found = (
            parts[name].elements(name, 0, size)[0] if name in parts else torch.zeros_like(expected).flatten()
        )
        if found.shape != (size,):
            return name, f"has {found.numel()} elements, not {size},"
        if not bool(expected.isfinite().all()):
            return name, "is NaN or infinite, as autograd's is (a log, sqrt or norm of 0 in the model?),"
        if not gradients_agree(found, expected.flatten(), largest):
            difference = float((found - expected.flatten()).abs().max())
            return (
                name,
                f"differs from autograd's by {difference:.1e} (the largest gradient is {largest:.1e})",
            )
    return "", ""
