"""The first attribute in which two models of one architecture differ, wherever it is hidden."""

from __future__ import annotations

import collections
import functools
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_DEPTH = 12
"""Largest number of steps from the model to an attribute."""


def first_difference(one: nn.Module, other: nn.Module) -> str:
    """Return the path of the first attribute that differs; empty if none is found.

    Tensors, arrays, numbers and generators are compared, in attributes, containers, closures and partial functions.

    Args:
        one: a model.
        other: a model of the same architecture, with the same state dict.
    """
    return next(_differences(one, other, "", set(), _DEPTH), "")


def _differences(one: Any, other: Any, path: str, seen: set[int], depth: int) -> Iterator[str]:
    if depth == 0 or id(one) in seen or one is other:
        return
    seen.add(id(one))
    if type(one).__qualname__ != type(other).__qualname__:  # a class may be defined anew in each call
        yield path
    elif isinstance(one, (Tensor, np.ndarray)):
        if not _equal_arrays(one, other):
            yield path
    elif isinstance(one, (bool, int, float, complex, str, bytes, np.generic)):
        if one != other:
            yield path
    elif isinstance(one, (random.Random, np.random.Generator, torch.Generator)):
        if _position(one) != _position(other):
            yield path
    else:
        mine, theirs = _parts(one), _parts(other)
        for name, value in mine.items():
            if name not in theirs:
                yield f"{path}.{name}".lstrip(".")
            else:
                yield from _differences(value, theirs[name], f"{path}.{name}".lstrip("."), seen, depth - 1)


def _equal_arrays(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.equal(one, other) if isinstance(one, Tensor) else np.array_equal(one, other))


def _position(generator: Any) -> object:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, torch.Generator):
        return generator.get_state().tolist()
    return str(generator.bit_generator.state)


def _parts(value: Any) -> dict[str, Any]:
    """Return what an object consists of, by name."""
    if isinstance(value, nn.Module):
        own = {
            name: part for name, part in vars(value).items() if not isinstance(part, dict) or name[0] != "_"
        }
        hooks = {"hooks": [*value._forward_pre_hooks.values(), *value._forward_hooks.values()]}
        return {**value._parameters, **value._buffers, **value._modules, **own, **hooks}
    if isinstance(value, dict):
        return {str(name): part for name, part in value.items()}
    if isinstance(value, (list, tuple, collections.deque)):
        return {str(index): part for index, part in enumerate(value)}
    if isinstance(value, (set, frozenset)):
        return {"elements": sorted(map(repr, value))}
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, types.MethodType):
        return {"self": value.__self__, "func": value.__func__}
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        return {**_cells(cells), "defaults": value.__defaults__, "kwdefaults": value.__kwdefaults__}
    if isinstance(value, (type, types.ModuleType)):
        return {}
    slots = {
        name: getattr(value, name) for name in getattr(type(value), "__slots__", ()) if hasattr(value, name)
    }
    return {**slots, **getattr(value, "__dict__", {})}


def _cells(cells: Any) -> dict[str, Any]:
    found = {}
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # an empty cell
            continue
    return found
