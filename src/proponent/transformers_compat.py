"""Attention masks of ``transformers`` that depend on no values, for the time of a ``with`` block.

Before a model of transformers makes its attention mask, it looks whether anything is masked at all, in order to choose a
faster kernel; models that pool the last token look for padding, in order to warn. Under a transformation of ``torch.func``
tensors have no values in Python. transformers leaves these looks out for tensors of a graph that is being traced, and
asks for each tensor whether it is a fake one: here, a transformed tensor is one too. Results are the same up to rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_ASKED = "transformers.utils.import_utils"
"""Module with the function that is asked; transformers is not imported here, since that takes seconds."""


@contextmanager
def unread_masks() -> Iterator[None]:
    """Let transformers, if it is imported, read no values of transformed tensors within the block."""
    module: Any = sys.modules.get(_ASKED)
    plain = getattr(module, "is_fake_tensor", None)
    if plain is None:
        yield
        return
    module.is_fake_tensor = lambda x: plain(x) or _is_transformed(x)
    try:
        yield
    finally:
        module.is_fake_tensor = plain


def _is_transformed(x: object) -> bool:
    return isinstance(x, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x)
