"""Imports that torch makes on first use, and that take longer than the work for which they are made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch

_NAME = "_dynamo"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Run derivatives of torch.func without the import of torch's compiler: 1.5 s of CPU time, and 5 s on a busy machine.

    ``torch.func.vjp`` names ``torch._dynamo`` for one purpose: it switches compiled autograd off around a backward pass. In
    a process that has not imported the compiler there is nothing to switch off. Whoever imports it meanwhile gets it.
    """
    module = f"torch.{_NAME}"
    if module in sys.modules:
        yield
        return
    stand_in = SimpleNamespace(compiled_autograd=SimpleNamespace(_disable=nullcontext))
    setattr(torch, _NAME, stand_in)
    try:
        yield
    finally:
        if vars(torch).get(_NAME) is stand_in:
            delattr(torch, _NAME)
