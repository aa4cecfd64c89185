"""Statements that have an effect when their module is imported, in addition to the names that they bind.

Such a statement belongs to every definition of its module: it may register a function, replace an attribute of another
module or draw random numbers. Definitions, imports, and assignments of what known constructors return have no such effect.
Everything else counts as having one.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Iterable

from proponent.config.digests.python_source import dotted

_CALLS = frozenset(
    (
        *(
            "abs",
            "all",
            "any",
            "bool",
            "bytes",
            "classmethod",
            "dict",
            "divmod",
            "enumerate",
            "float",
            "frozenset",
            "int",
        ),
        *(
            "isinstance",
            "len",
            "list",
            "max",
            "min",
            "object",
            "open",
            "ord",
            "pow",
            "property",
            "range",
            "repr",
        ),
        *("reversed", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "tuple", "zip"),
    )
)
"""Builtin functions and decorators without an effect."""

_ARRAYS = (
    *(
        "arange",
        "array",
        "as_tensor",
        "asarray",
        "cat",
        "concatenate",
        "cos",
        "exp",
        "eye",
        "finfo",
        "full",
        "hstack",
    ),
    *(
        "identity",
        "iinfo",
        "linspace",
        "load",
        "loadtxt",
        "log",
        "log10",
        "log2",
        "logspace",
        "ones",
        "sin",
        "sqrt",
    ),
    *("stack", "tensor", "tril", "triu", "vstack", "zeros"),
)
_LAYERS = (
    "CrossEntropyLoss",
    "Dropout",
    "ELU",
    "Flatten",
    "GELU",
    "Identity",
    "MSELoss",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Tanh",
)
"""Layers without random initial weights."""

_PACKAGES = (
    *(
        "abc",
        "base64",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "enum",
        "fractions",
        "functools",
    ),
    *(
        "hashlib",
        "itertools",
        "json",
        "math",
        "operator",
        "os.getenv",
        "os.environ.get",
        "os.path",
        "pathlib",
        "re",
    ),
    *(
        "statistics",
        "string",
        "struct",
        "textwrap",
        "types",
        "typing",
        "typing_extensions",
        "logging.getLogger",
    ),
    *("attr", "attrs", "beartype", "jaxtyping", "numba", "numpy.random.default_rng"),
    *(
        "pandas.read_csv",
        "pandas.DataFrame",
        "pandas.Series",
        "torch.Generator",
        "torch.compile",
        "torch.device",
    ),
    *("torch.enable_grad", "torch.inference_mode", "torch.jit", "torch.no_grad", "torch.Size"),
    *(f"{library}.{name}" for library in ("numpy", "torch") for name in _ARRAYS),
    *(f"torch.nn.{name}" for name in _LAYERS),
)
"""Packages, and functions of packages, whose calls have no effect on others: constructors, decorators and arithmetic."""

_BASES = (
    "lightning",
    "numpy",
    "pytorch_lightning",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "transformers",
)
"""Third-party packages whose classes can be inherited from without an effect."""

_OWN_DECORATORS = ("setter", "getter", "deleter")
"""Attributes of a property that decorate its other functions."""


class ImportEffects:
    """Decides whether a statement of a module has an effect when it is imported.

    Args:
        qualify: returns the full name that a dotted name stands for in the module, such as ``numpy.array`` or
            ``builtins.len``; None where it is not known.
        is_plain_class: whether inheriting from the class of the checkout with this full name runs none of its code.
    """

    def __init__(
        self, qualify: Callable[[tuple[str, ...]], str | None], is_plain_class: Callable[[str], bool]
    ) -> None:
        self._qualify = qualify
        self._is_plain_class = is_plain_class

    def has_effect(self, node: ast.stmt, in_class: bool = False) -> bool:
        """Return whether a statement may change anything except the names that it binds."""
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
            return False
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            run = [*given.defaults, *(item for item in given.kw_defaults if item is not None)]
            return not all(map(self._is_pure, run)) or not self._are_plain(node.decorator_list, in_class)
        if isinstance(node, ast.ClassDef):
            return not self.is_plain(node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return not all(map(_binds_names, targets)) or not (
                node.value is None or self._is_pure(node.value)
            )
        if isinstance(node, ast.If):
            return not self._is_pure(node.test) or self._any([*node.body, *node.orelse], in_class)
        if isinstance(node, (ast.Try, ast.TryStar)):
            handled = [item for handler in node.handlers for item in handler.body]
            return self._any([*node.body, *handled, *node.orelse, *node.finalbody], in_class)
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        return type(node).__name__ != "TypeAlias"

    def is_plain(self, node: ast.ClassDef) -> bool:
        """Return whether the definition of a class runs no code that could register it or change others."""
        return (
            self._are_plain(node.decorator_list, in_class=False)
            and all(self._is_plain_base(base) for base in node.bases)
            and all(item.arg == "metaclass" and self._is_abc(item.value) for item in node.keywords)
            and not self._any(node.body, in_class=True)
        )

    def _any(self, body: Iterable[ast.stmt], in_class: bool) -> bool:
        return any(self.has_effect(item, in_class) for item in body)

    def _is_abc(self, metaclass: ast.expr) -> bool:
        return self._qualify(dotted(metaclass)) in ("abc.ABCMeta", "enum.EnumMeta", "enum.EnumType")

    def _is_plain_base(self, base: ast.expr) -> bool:
        if isinstance(base, ast.Subscript):  # Generic[T]
            return self._is_plain_base(base.value)
        if isinstance(base, ast.Call):  # namedtuple("A", "b c")
            return self._is_pure(base)
        name = self._qualify(dotted(base))
        if name is None:
            return False
        top = name.partition(".")[0]
        return top in ("builtins", *_BASES) or top in sys.stdlib_module_names or self._is_plain_class(name)

    def _are_plain(self, decorators: Iterable[ast.expr], in_class: bool) -> bool:
        for decorator in decorators:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            own = in_class and isinstance(called, ast.Attribute) and called.attr in _OWN_DECORATORS
            if not own and not self._is_harmless(called):
                return False
            if isinstance(decorator, ast.Call) and not self._is_pure(decorator):
                return False
        return True

    def _is_pure(self, expression: ast.expr) -> bool:
        """Return whether evaluating an expression calls nothing but functions without an effect."""
        pending: list[ast.AST] = [expression]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Lambda):
                pending += [*node.args.defaults, *(item for item in node.args.kw_defaults if item)]
                continue
            if isinstance(node, ast.Call) and not self._is_harmless(node.func):
                return False
            pending.extend(ast.iter_child_nodes(node))
        return True

    def _is_harmless(self, called: ast.expr) -> bool:
        """Return whether a call of ``called`` has no effect: a known function, or a method of what such a call returns."""
        names = dotted(called)
        if not names:
            owner = called
            while isinstance(owner, (ast.Attribute, ast.Subscript)):
                owner = owner.value
            if isinstance(owner, ast.Call):
                return self._is_harmless(owner.func)
            return isinstance(owner, (ast.Constant, ast.JoinedStr))
        name = self._qualify(names)
        if name is None:
            return False
        if name.startswith("builtins."):
            return name.split(".")[1] in _CALLS
        return any(name == known or name.startswith(f"{known}.") for known in _PACKAGES)


def _binds_names(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return all(map(_binds_names, target.elts))
    if isinstance(target, ast.Starred):
        return _binds_names(target.value)
    return isinstance(target, ast.Name)


def is_builtin(name: str) -> bool:
    """Return whether a name is one of Python's builtins."""
    return hasattr(builtins, name)
