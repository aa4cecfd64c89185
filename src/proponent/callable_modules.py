"""Modules that can be called as a function, such as ``proponent.methods()`` and ``proponent.metrics.lds(...)``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Let a call of an imported module be a call of a function.

    The class of a module may be replaced by a subclass ("Customizing module attribute access" in Python's data model).

    Args:
        module: name of the module.
        function: function with the documentation and the signature of the call.
    """
    found = sys.modules[module]
    found.__class__ = type(
        "CallableModule", (type(found),), {"__call__": staticmethod(function), "__wrapped__": function}
    )
