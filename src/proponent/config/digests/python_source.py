"""Python source as a syntax tree: its digest and its imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proponent.errors import UserError

_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
"""Exceptions whose handler makes the imports of a ``try`` optional."""


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        UserError: the file cannot be read, or is not valid Python.
    """
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as Python source ({error})") from error


def syntax_digest(tree: ast.Module) -> str:
    """Return the sha256 of a syntax tree without its docstrings, which are removed from ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [item for item in node.body if not _is_string(item)]
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def imports_of(tree: ast.Module, module: str, is_package: bool) -> dict[str, bool]:
    """Return the imported names, dotted and absolute, and whether each import runs whenever the module is imported.

    An import inside a function, an ``if``, or a ``try`` that handles ImportError need not run or may fail. Imports for type
    checkers (``if TYPE_CHECKING``) are left out. ``from a import b`` counts as ``a.b``.

    Args:
        tree: the module.
        module: its dotted name, against which relative imports are resolved.
        is_package: the file is an ``__init__.py``.
    """
    found: dict[str, bool] = {}
    pending: list[tuple[ast.AST, bool]] = [(tree, True)]
    while pending:
        node, always = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend((child, False) for child in node.orelse)
            continue
        for name in _names(node, module, is_package):
            found[name] = found.get(name, False) or always
        inside = always and not _may_skip(node)
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))
    return found


def _names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        keep = len(parts) - node.level + (1 if is_package else 0)
        base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def _may_skip(node: ast.AST) -> bool:
    """Return whether the statements inside ``node`` need not run, or may fail to import without harm."""
    if isinstance(node, (ast.Try, ast.TryStar)):
        return any(_handles_import_error(handler) for handler in node.handlers)
    return isinstance(node, (ast.If, ast.FunctionDef, ast.AsyncFunctionDef))


def _handles_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(item, ast.Name) and item.id in _CAUGHT for item in ast.walk(handler.type))


def constants_of(body: Iterable[ast.stmt]) -> dict[str, Any]:
    """Return the constants among the statements of a module: names that are assigned a literal."""
    constants: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and is_literal(value):
            constants[target.id] = ast.literal_eval(value)
    return constants


def is_literal(node: ast.expr) -> bool:
    """Return whether an expression is a literal: numbers, text, and tuples, lists and dictionaries of these."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True
