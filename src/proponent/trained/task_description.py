"""Description of a task in memory for the key of its features: classes, the source of their methods, and their values."""

from __future__ import annotations

import inspect
import marshal
import pickle
import sys
import sysconfig
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any

from torch import Tensor

from proponent.trained.tensors_digest import tensors_digest


def described(value: Any, within: tuple[int, ...] = ()) -> Any:
    """Return a task, or something that it holds, as text, lists and mappings; equal ones are equal in every process.

    Functions and constants of modules that methods use are not part of it. What has no stable description, such as an open
    file, differs in each process.

    Args:
        value: the task.
        within: identities of the objects that hold ``value``.
    """
    if id(value) in within:
        return "itself"
    within = (*within, id(value))
    if isinstance(value, Tensor):
        return tensors_digest({"tensor": value})
    if isinstance(value, FunctionType):
        captured = [cell.cell_contents for cell in value.__closure__ or ()]
        return [_source(value), described([captured, value.__defaults__, value.__kwdefaults__], within)]
    if isinstance(value, Mapping):
        return {str(key): described(item, within) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(item, within) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((described(item, within) for item in value), key=repr)
    if isinstance(value, property):
        return described([value.fget, value.fset, value.fdel], within)
    if isinstance(value, cached_property):
        return described(value.func, within)
    kind = type(value)
    if hasattr(value, "__dict__") and kind.__reduce__ is object.__reduce__ and not isinstance(value, type):
        classes = [described_class(base, within) for base in kind.__mro__ if base is not object]
        # hashes of texts differ in each process; a GenerationConfig of transformers holds one
        values = {name: held for name, held in vars(value).items() if not name.endswith("_hash")}
        return {"classes": classes, "values": described(values, within)}
    try:
        return [kind.__qualname__, sha256(pickle.dumps(value)).hexdigest()]
    except (pickle.PicklingError, TypeError, AttributeError):
        return repr(value)


def described_class(kind: type, within: tuple[int, ...] = ()) -> list[Any]:
    """Return the name of a class and what it defines; of a library's class, the version of the library."""
    name, top = f"{kind.__module__}:{kind.__qualname__}", kind.__module__.partition(".")[0]
    library = sys.modules.get(top)
    path = Path(getattr(library, "__file__", None) or "")
    installed = bool({"site-packages", "dist-packages"} & set(path.parts))
    if top == "proponent" or top in sys.builtin_module_names:
        return [name]
    version = getattr(library, "__version__", None)
    if installed and version is not None:
        return [name, str(version)]
    if not installed and path.is_relative_to(sysconfig.get_path("stdlib")):
        return [name]
    plain = {
        key: value
        for key, value in vars(kind).items()
        if key != "_abc_impl" and (not key.startswith("__") or callable(value))
    }
    return [name, {key: described(getattr(value, "__func__", value), within) for key, value in plain.items()}]


def _source(function: FunctionType) -> str:
    """Return the source of a function, or its code where an interactive session has no source."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return sha256(marshal.dumps(function.__code__)).hexdigest()
