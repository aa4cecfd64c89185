"""Description of the code of a model, and of this package, for the key of what is computed with them."""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import proponent
from proponent.trained.task_description import described, described_class


def described_model(module: nn.Module) -> list[Any]:
    """Return the classes of a model and of its submodules, with the source of their methods and the values that they hold.

    Classes of installed libraries are described by their version. Functions and constants of modules that methods use are
    not covered.
    """
    parts = dict(module.named_modules())
    classes = {
        base: _class(base) for part in parts.values() for base in type(part).__mro__ if base is not object
    }
    values = [
        [name, type(part).__qualname__, {key: described(value) for key, value in _settings(part).items()}]
        for name, part in parts.items()
    ]
    return [list(classes.values()), values]


@cache
def package_digest() -> str:
    """Return the sha256 of all source files of this package."""
    found = sha256()
    root = Path(proponent.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()} ".encode() + path.read_bytes())
    return found.hexdigest()


def _class(kind: type) -> Any:
    library = sys.modules.get(kind.__module__.partition(".")[0])
    installed = "site-packages" in Path(getattr(library, "__file__", None) or "").parts
    if installed and (version := getattr(library, "__version__", None)) is not None:
        return [f"{kind.__module__}:{kind.__qualname__}", version]
    return described_class(kind)


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return the attributes that are neither those of every module nor parameters, which have digests of their own."""
    return {
        name: value
        for name, value in vars(part).items()
        if not name.startswith("_") and name != "training" and not isinstance(value, (Tensor, nn.Module))
    }
