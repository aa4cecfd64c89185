"""Floating point types of a setting's data and models, as ``recipe.precision`` asks for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proponent.config.recipe_schema import Precision
from proponent.rows import Rows, named_tensors
from proponent.settings.model_diagnosis import LOW_PRECISION

_SMALL = (torch.uint8, torch.int8, torch.int16, torch.int32)
"""Types that no layer computes with."""


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the type of stored data, parameters and features: float64, or float32 (for ``bf16`` as well)."""
    return torch.float64 if precision is Precision.float64 else torch.float32


def converted_model(model: nn.Module, precision: Precision) -> nn.Module:
    """Return the model with parameters and buffers of the type of :func:`dtype_of`, converted in place.

    Weights that are stored in bfloat16 or float16, as pretrained ones often are, are trained in float32: their rounding
    would hide the gradients of single examples. A model with float64 parameters is left as it is under ``float32``, because
    its forward pass may convert its inputs itself; if it does not, it is refused when it is tried on the data.
    """
    wanted = dtype_of(precision)
    kinds = {value.dtype for value in (*model.parameters(), *model.buffers()) if value.is_floating_point()}
    return model.to(wanted) if wanted == torch.float64 or kinds & set(LOW_PRECISION) else model


def converted_data(values: Tensor, precision: Precision) -> Tensor:
    """Return floating point rows in the type of :func:`dtype_of`, and rows of other types unchanged."""
    return values.to(dtype_of(precision)) if values.is_floating_point() else values


def other_type(model: nn.Module, x: Rows) -> str:
    """Return the end of a message for a model that was given bytes, or float32 for float64; empty for other models."""
    if any(value.dtype in _SMALL for value in named_tensors(x).values()):
        return "; turn them into numbers by 'preprocess' of the setting, or in the model"
    doubles = any(value.dtype == torch.float64 for value in model.parameters())
    if not doubles or any(value.dtype == torch.float64 for value in named_tensors(x).values()):
        return ""
    return (
        "; the model's parameters are float64: set recipe.precision: float64, or build the model in float32"
    )
