"""Memory of a method with given hyper-parameters, as its function ``memory`` states it; without torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from proponent.methods.shared.problem_size import ProblemSize


def stated_mib(
    module: ModuleType,
    function: Callable[..., Any],
    size: ProblemSize,
    queries: int,
    params: Mapping[str, Any],
) -> float:
    """Return the memory of a method in MiB; that of its scores where its module states none.

    Args:
        module: module of the method.
        function: function that scores one model, with the defaults of its hyper-parameters.
        size: size of the problem.
        queries: number of queries at a time.
        params: hyper-parameters that are not the defaults.
    """
    need = getattr(module, "memory", None)
    if need is None:
        return size.scores()
    defaults = inspect.signature(function).parameters
    names = [
        item.name for item in inspect.signature(need).parameters.values() if item.kind is item.KEYWORD_ONLY
    ]
    return float(need(size, queries, **{name: params.get(name, defaults[name].default) for name in names}))
