"""Signatures of functions and constants of modules, read from source without importing: planning a run needs no torch."""

from __future__ import annotations

import ast
import typing
from dataclasses import dataclass, field
from typing import Any

from proponent.config.digests.module_source import STAR, ModuleSource
from proponent.config.digests.python_source import constants_of, dotted, is_literal
from proponent.config.digests.source_digest import SourceTree
from proponent.config.load import conforms, nearest
from proponent.config.ranges import EVERYWHERE, check_ranges
from proponent.config.typed_values import typed
from proponent.errors import UserError

_NAMES = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "Literal": typing.Literal,
    "None": None,
}


@dataclass(frozen=True)
class Signature:
    """The arguments of one function, and the literal constants of its module."""

    where: str
    """``path:function``, for messages."""
    positional: tuple[str, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    """Keyword-only (or defaulted) arguments and their annotations; ``Any`` without one."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Defaults that are literals."""
    defaulted: frozenset[str] = frozenset()
    """Names of the arguments that have a default, literal or not."""
    accepts_any_keyword: bool = False
    constants: dict[str, Any] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()
    """Names of the functions that the module defines."""

    def keywords_only(self) -> Signature:
        """Return the signature without its positional arguments, to check values that cannot be given for these."""
        return Signature(self.where, (), self.keywords, accepts_any_keyword=self.accepts_any_keyword)

    def check_arguments(self, arguments: dict[str, Any], source: str, prefix: str) -> dict[str, Any]:
        """Return arguments in the types of their annotations (1 for a float is 1.0).

        Raises:
            UserError: the function has no keyword of this name, or the value does not fit its annotation.
        """
        valid = {**dict.fromkeys(self.positional, Any), **self.keywords}
        checked = {
            name: typed(value, valid.get(name, Any), source, f"{prefix}{name}")
            for name, value in arguments.items()
        }
        for name, value in checked.items():
            if name not in valid and not self.accepts_any_keyword:
                raise UserError(
                    f"{source}: unknown key '{prefix}{name}'{nearest(name, valid)} (arguments of {self.where})"
                )
            annotation = valid.get(name, Any)
            if annotation is not Any and not conforms(value, annotation):
                raise UserError(f"{source}: '{prefix}{name}' must be {_spell(annotation)}, not {value!r}")
        return checked

    def check_ranges(self, arguments: dict[str, Any], where: str) -> None:
        """Raise a UserError unless the arguments and the defaults of the others are in their ranges.

        The ranges are those of :data:`proponent.config.ranges.EVERYWHERE` and of the module's constant ``RANGES``, such as
        ``{"share": "(0, 1]", "rank": "[1, iterations]"}``.

        Args:
            arguments: values by name.
            where: beginning of messages, directly before the name.
        """
        ranges = {name: text for name, text in EVERYWHERE.items() if name in self.keywords}
        try:
            check_ranges(ranges | self.constants.get("RANGES", {}), {**self.defaults, **arguments}, where)
        except ValueError as error:
            raise UserError(str(error)) from error


def _spell(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(annotation)))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def read_signature(tree: SourceTree, module: str, function: str, source: str) -> Signature | None:
    """Read the signature of ``module.function`` from the checkout's sources.

    Args:
        tree: the source of the checkout.
        module: dotted name of the module.
        function: name of a function or class in it, or of a class and one of its methods (``Net.small``).
        source: the file that names the function, the beginning of every error.

    Returns:
        The signature; None if it cannot be told from the module: the function is defined in an installed package or a
        compiled extension, reaches the module through more than one import, or is the value of an assignment.

    Raises:
        UserError: the module cannot be found, or has no such function.
    """
    path = tree.find(module)
    if path is not None and path.suffix != ".py":
        return None
    if path is None:
        if tree.is_installed(module):
            return None
        raise UserError(
            f"{source}: no module '{module}' in {', '.join(map(str, tree.roots))} or among installed packages"
        )
    body = tree.syntax(path).body
    definitions = {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    name, _, method = function.partition(".")
    if name not in definitions:
        read = tree.definitions.index.source(module)
        if read is not None and {name, STAR} & {*read.positions, *read.bindings}:
            return _imported_signature(tree, read, function, source)
        raise UserError(f"{source}: {path} has no function '{function}'{nearest(function, definitions)}")
    node = definitions[name]
    if method:
        inner = {item.name: item for item in getattr(node, "body", ()) if isinstance(item, ast.FunctionDef)}
        if method not in inner:
            return None
        is_static = any(dotted(decorator) == ("staticmethod",) for decorator in inner[method].decorator_list)
        return _signature(inner[method], f"{path}:{function}", body, skip=0 if is_static else 1)
    if isinstance(node, ast.ClassDef):
        inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not inits:
            return None
        return _signature(inits[0], f"{path}:{function}", body, skip=1)
    return _signature(node, f"{path}:{function}", body, skip=0)


def _imported_signature(tree: SourceTree, read: ModuleSource, function: str, source: str) -> Signature | None:
    """Return the signature of a function that a module imports from another module of the checkout, or None."""
    name, dot, method = function.partition(".")
    for position in read.bindings.get(name, ()):
        one = read.imports[position]
        path = tree.find(one.module)
        if one.module == read.name or not one.attribute or path is None or path.suffix != ".py":
            continue
        if one.attribute in {getattr(node, "name", None) for node in tree.syntax(path).body}:
            return read_signature(tree, one.module, f"{one.attribute}{dot}{method}", source)
    return None


def _signature(node: ast.FunctionDef, where: str, body: list[ast.stmt], skip: int) -> Signature:
    plain = [*node.args.posonlyargs, *node.args.args][skip:]
    defaulted = plain[len(plain) - len(node.args.defaults) :] if node.args.defaults else []
    keywords = {item.arg: _annotation(item.annotation) for item in [*defaulted, *node.args.kwonlyargs]}
    values = [
        *zip(defaulted, node.args.defaults, strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return Signature(
        where=where,
        positional=tuple(item.arg for item in plain if item not in defaulted),
        keywords=keywords,
        defaults={
            item.arg: ast.literal_eval(value)
            for item, value in values
            if value is not None and is_literal(value)
        },
        defaulted=frozenset(item.arg for item, value in values if value is not None),
        accepts_any_keyword=node.args.kwarg is not None,
        constants=constants_of(body),
        functions=frozenset(item.name for item in body if isinstance(item, ast.FunctionDef)),
    )


def _annotation(node: ast.expr | None) -> Any:
    """Return the value of an annotation made of builtin names, Literal, ``|`` and ``[]``; ``Any`` for all others."""
    if node is None:
        return Any
    names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    simple = all(
        isinstance(
            item,
            (
                ast.Name,
                ast.Subscript,
                ast.Tuple,
                ast.Constant,
                ast.BinOp,
                ast.BitOr,
                ast.Load,
                ast.UnaryOp,
                ast.USub,
            ),
        )
        for item in ast.walk(node)
    )
    if not simple or not names <= _NAMES.keys():
        return Any
    return eval(compile(ast.Expression(node), "<annotation>", "eval"), {"__builtins__": {}}, _NAMES)  # noqa: S307 - names checked above
