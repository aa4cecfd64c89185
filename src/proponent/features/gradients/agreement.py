"""Comparison of captured gradients with plain autograd, before any of them is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.rows import Rows
from proponent.settings.model_diagnosis import diagnose, gradients_agree

if TYPE_CHECKING:
    from proponent.features.gradients.capture import Capture, Cotangents


def compare_with_autograd(capture: Capture, x: Rows, y: Tensor, cotangents: Cotangents) -> None:
    """Refuse a model whose captured gradients are not those of ``torch.autograd``, for the first, middle and last example.

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
    block, outputs = capture.gradients(x[rows], y[rows], cotangents)
    seeds = cotangents(outputs, y[rows])
    repeats = seeds.shape[1]
    for place, row in enumerate(rows):
        ordinary = capture.ordinary_gradient(x[row : row + 1], seeds[place, :1])
        captured = block.slice(slice(place * repeats, place * repeats + 1))
        name, problem = _disagreement(captured, ordinary)
        if name:
            cause = diagnose(capture.module, capture.outputs, x[rows])
            raise UserError(
                cause
                or f"the captured gradient of the model's '{name}' {problem} for example {row}; compute this parameter's "
                "layer with other operations"
            )


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
