"""Values that methods keep for a training set, as named tensors and a structure in plain values, and back.

Factorisations are tensors inside tuples, mappings, blocks of gradients and objects of this package's classes. No code is
stored and no constructor runs: an object is its class, by name, and its attributes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, get_args

from torch import Tensor

from proponent.features.gradients.block import Block
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.rows import Rows

_PACKAGE = "proponent."
_PLAIN = (bool, int, float, str)
_SEQUENCES = {"list": list, "tuple": tuple}


class NotPackable(Exception):
    """A value holds a function, a whole network, or another object that data cannot describe."""


def pack(value: Any, n_train: int) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors of a value by name, and its structure (for JSON).

    Args:
        value: value that a method keeps.
        n_train: number of training examples; blocks of gradients have a row, or the same number of rows, for each.

    Raises:
        NotPackable: the value holds something else than data.
    """
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()

    def described(item: Any) -> Any:
        if item is None or isinstance(item, _PLAIN):
            return {"plain": item}
        if isinstance(item, Tensor):
            name = str(len(tensors))
            storage = item.untyped_storage()
            shares = storage.nbytes() != item.nbytes or storage.data_ptr() in places
            places.add(storage.data_ptr())
            tensors[name] = item.clone() if shares else item  # a file holds no tensors that share memory
            return {"tensor": name}
        if isinstance(item, slice):
            return {"slice": [item.start, item.stop, item.step]}
        if isinstance(item, (list, tuple)) and type(item).__name__ in _SEQUENCES:
            return {type(item).__name__: [described(each) for each in item]}
        if isinstance(item, dict):
            return {"mapping": [[described(key), described(each)] for key, each in item.items()]}
        if isinstance(item, get_args(Block)):
            own, layout = to_tensors(item)
            first = len(tensors)
            tensors.update({f"{first}/{name}": tensor for name, tensor in own.items()})
            return {"block": layout, "at": first, "repeats": len(item) // n_train}
        kind = type(item)
        if (
            not kind.__module__.startswith(_PACKAGE)
            or "<" in kind.__qualname__
            or not hasattr(item, "__dict__")
        ):
            raise NotPackable(kind.__qualname__)
        values = {name: described(each) for name, each in vars(item).items()}
        return {"object": f"{kind.__module__}:{kind.__qualname__}", "values": values}

    return tensors, described(value)


def unpack(structure: Any, get: Callable[[str], Tensor], x: Rows) -> Any:
    """Return the value that :func:`pack` described.

    Args:
        structure: structure of the value.
        get: function from the name of a tensor to the tensor.
        x: (n_train, ...) training inputs.

    Raises:
        ValueError, KeyError, AttributeError: the structure is not that of a value.
    """
    if "plain" in structure:
        return structure["plain"]
    if "tensor" in structure:
        return get(structure["tensor"])
    if "slice" in structure:
        return slice(*structure["slice"])
    if "mapping" in structure:
        return {unpack(key, get, x): unpack(item, get, x) for key, item in structure["mapping"]}
    if "block" in structure:
        first = structure["at"]
        repeats = structure["repeats"]
        return from_tensors(structure["block"], lambda name: get(f"{first}/{name}"), x, repeats=repeats)
    if "object" in structure:
        return _object(structure, get, x)
    ((name, items),) = structure.items()
    return _SEQUENCES[name](unpack(item, get, x) for item in items)


def _object(structure: Mapping[str, Any], get: Callable[[str], Tensor], x: Rows) -> Any:
    module, _, name = structure["object"].partition(":")
    if not module.startswith(_PACKAGE):
        raise ValueError(f"{module} is not a module of this package")
    kind = getattr(importlib.import_module(module), name)
    if not isinstance(kind, type):
        raise ValueError(f"{structure['object']} is not a class")
    found: Any = object.__new__(kind)
    vars(found).update({key: unpack(item, get, x) for key, item in structure["values"].items()})
    return found
