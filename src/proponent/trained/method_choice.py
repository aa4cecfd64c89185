"""A configured method with hyper-parameters of one's own, from the installed package alone."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from proponent.config.benchmark_schema import Combine, MethodConfig
from proponent.config.implied import over_members
from proponent.config.load import nearest, structured
from proponent.config.setting_schema import Inputs
from proponent.config.signature import Signature
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError
from proponent.rows import NamedRows, Rows
from proponent.settings.split import Arrays

OF_MODELS = ("gradients", "outputs", "representations", "network")
"""Needs that a trained model provides."""
METHOD_FILES = Path(__file__).parent / "method_files"
"""The YAML files of all methods; in a checkout a link to ``configs/methods``."""


@dataclass(frozen=True)
class Choice:
    """A method and its hyper-parameters.

    Attributes:
        name: name of the method.
        module: module of its family.
        config: content of its YAML file.
        params: hyper-parameters: those that were given, else those of the YAML file; the function has the others' defaults.
        function_name: name of the function in the module.
    """

    name: str
    module: ModuleType
    config: MethodConfig
    params: dict[str, Any]
    function_name: str = "attribute"

    @property
    def function(self) -> Callable[..., Any]:
        """The function that scores one model."""
        function: Callable[..., Any] = getattr(self.module, self.function_name)
        return function

    @property
    def needs(self) -> tuple[str, ...]:
        """Positional arguments of the function and of ``finish``."""
        finish = getattr(self.module, "finish", None)
        more = signature_of(finish).positional[1:] if finish is not None else ()
        return tuple(dict.fromkeys((*signature_of(self.function).positional, *more)))

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Tasks that it can run on; None for all."""
        return getattr(self.module, "TASKS", None)

    @property
    def takes_tokens(self) -> bool:
        """Whether it is for texts as token numbers only."""
        return getattr(self.module, "INPUTS", None) == Inputs.tokens.value

    @property
    def checkpoints(self) -> int:
        """Number of checkpoints along training that it needs, in addition to the final model."""
        return 1 if self.config.checkpoints else getattr(self.module, "CHECKPOINTS", 0)

    def as_arrays(self, data: Arrays) -> Any:
        """Return the data as the arrays that the method computes with: tensors, or arrays of NumPy."""
        if getattr(self.module, "ARRAYS", "torch") == "torch":
            return data
        rows = data._asdict().items()
        return SimpleNamespace(**{name: as_numpy(value) for name, value in rows if value is not None})

    @property
    def normalised(self) -> bool:
        """Whether every model's scores have the same weight."""
        return self.config.combine is Combine.normalised


def method_names() -> list[str]:
    """Return the names of all configured methods that are functions in Python."""
    return sorted(path.stem for path in METHOD_FILES.glob("*.yaml"))


def choose_method(name: str, params: Mapping[str, Any], *, final_only: bool = False) -> Choice:
    """Return a method with hyper-parameters.

    Args:
        name: name of a method; ``graddot-10`` stands for ``graddot`` averaged over ten models.
        params: hyper-parameters, as keyword arguments of the method's function.
        final_only: whether there is no checkpoint but the final model, so that the YAML file does not choose another one.

    Raises:
        UserError: there is no such method, or it has no such hyper-parameter, or a value does not fit.
    """
    config = _config(name)
    module = importlib.import_module(modules_by_family()[config.family])
    signature = signature_of(module.attribute)
    source = f"method '{name}'"
    given = signature.keywords_only().check_arguments(dict(params), source, "")
    unused = {*given, "checkpoint"} if final_only else {*given}
    own = {key: value for key, value in config.params.items() if key not in unused}
    signature.check_ranges({**own, **given}, f"{source}: ")
    return Choice(name, module, config, {**own, **given})


@cache
def modules_by_family() -> dict[str, str]:
    """Return the dotted name of each method's module by its last part."""
    package = importlib.import_module("proponent.methods")
    found = [
        entry.name
        for entry in pkgutil.walk_packages(package.__path__, "proponent.methods.")
        if not entry.ispkg and ".shared" not in entry.name
    ]
    return {name.rpartition(".")[2]: name for name in found}


def signature_of(function: Callable[..., Any]) -> Signature:
    """Return the signature of a function, with the literal constants of its module."""
    parameters = inspect.signature(function).parameters.values()
    hints = typing.get_type_hints(function)
    keywords = [value for value in parameters if value.kind is value.KEYWORD_ONLY]
    module = importlib.import_module(function.__module__)
    return Signature(
        f"{function.__module__}.{function.__name__}",
        tuple(value.name for value in parameters if value.kind is value.POSITIONAL_OR_KEYWORD),
        {value.name: hints.get(value.name, Any) for value in keywords},
        {value.name: value.default for value in keywords if value.default is not value.empty},
        constants={key: value for key, value in vars(module).items() if key.isupper()},
    )


def _config(name: str) -> MethodConfig:
    if not isinstance(name, str):
        raise UserError(
            f"method must be the name of a method, not a {type(name).__name__}; proponent.methods() lists them"
        )
    path = METHOD_FILES / f"{name}.yaml"
    alone, _, members = name.rpartition("-")
    if re.fullmatch(r"[\w-]+", name) and path.is_file():
        content = read_yaml(path)
    elif members.isdecimal() and alone in method_names():
        content = over_members(read_yaml(METHOD_FILES / f"{alone}.yaml"), int(members), f"method '{name}'")
    else:
        raise UserError(f"no method '{name}'{nearest(name, method_names())}")
    return structured(MethodConfig, content, f"method '{name}'")


def as_numpy(x: Rows) -> Any:
    """Return inputs or labels as one array of NumPy, or as arrays by name."""
    if isinstance(x, NamedRows):
        return {name: value.numpy(force=True) for name, value in x.tensors.items()}
    return x.numpy(force=True)
