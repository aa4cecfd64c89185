"""Description of the code of a model, and of this package, for the key of what is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

import proponent
from proponent.trained.task_description import described, described_class
from proponent.trained.tensors_digest import tensors_digest

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_DATA = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, Tensor, FunctionType, type(None))


def described_model(module: nn.Module) -> list[Any]:
    """Return what a model does besides its state dict.

    This is the source of the methods of its classes and of those of its submodules, the values that they hold, the buffers
    that are not saved, and which parameters are trained. Classes of installed libraries are described by their version.
    Functions and constants of modules that methods use are not covered.
    """
    parts = dict(module.named_modules())
    classes = {
        base: described_class(base)
        for part in parts.values()
        for base in type(part).__mro__
        if base is not object
    }
    registered = (*parts.values(), *module.parameters(), *module.buffers())
    within = tuple(map(id, registered))  # not described where an attribute holds them once more
    values = [
        [name, type(part).__qualname__, described(_settings(part), within)] for name, part in parts.items()
    ]
    saved = module.state_dict().keys()
    unsaved = {name: value for name, value in module.named_buffers() if name not in saved}
    trained = [name for name, value in module.named_parameters() if value.requires_grad]
    return [list(classes.values()), values, tensors_digest(unsaved), trained]


@cache
def package_digest() -> str:
    """Return the sha256 of all source files of this package."""
    found = sha256()
    root = Path(proponent.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()} ".encode() + path.read_bytes())
    return found.hexdigest()


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that are neither those of every module nor results of its last pass.

    Private ones count if they are data: others are what a library keeps for itself, such as the trainer of a module, which
    is None before the training.
    """
    return {
        name: value
        for name, value in vars(part).items()
        if name not in _OF_EVERY_MODULE
        and not isinstance(value, nn.Module)
        and not (isinstance(value, Tensor) and value.grad_fn is not None)
        and (not name.startswith("_") or (value is not None and _is_data(value)))
    }


def _is_data(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_data, value))
    return isinstance(value, _DATA)
