"""Imports that torch makes on first use, and that take longer than the work for which they are made."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch

_NAME = "_dynamo"
_COMPILER = f"torch.{_NAME}"


class _StandIn:
    """The compiler until somebody needs more of it than derivatives do: then it is imported."""

    def __getattr__(self, name: str) -> Any:
        if name == "compiled_autograd" and _COMPILER not in sys.modules:
            return SimpleNamespace(_disable=nullcontext)
        return getattr(importlib.import_module(_COMPILER), name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Run derivatives of torch.func without the import of torch's compiler: 1.5 s of CPU time, and 5 s on a busy machine.

    ``torch.func.vjp`` names ``torch._dynamo`` for one purpose: it switches compiled autograd off around a backward pass. In
    a process that has not imported the compiler there is nothing to switch off. Whoever imports it meanwhile gets it, as
    gradient checkpointing does.
    """
    if _COMPILER in sys.modules or isinstance(vars(torch).get(_NAME), _StandIn):
        yield
        return
    stand_in = _StandIn()
    setattr(torch, _NAME, stand_in)
    try:
        yield
    finally:
        if vars(torch).get(_NAME) is stand_in:
            delattr(torch, _NAME)
