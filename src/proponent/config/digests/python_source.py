"""Python source as a syntax tree: reading, digests and literals."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from proponent.errors import UserError


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file, without its docstrings. Callers share the tree and must not change it.

    Raises:
        UserError: the file cannot be read, or is not valid Python.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read as Python source ({error})") from error
    return parse_source(source, path)


def parse_source(source: bytes, path: Path) -> ast.Module:
    """Return the syntax tree of Python source, without its docstrings; ``path`` names the source in an error.

    Raises:
        UserError: the source is not valid Python.
    """
    try:
        return _tree(source)
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as Python source ({error})") from error


@lru_cache(maxsize=1024)
def _tree(source: bytes) -> ast.Module:
    """Return the syntax tree of Python source, without its docstrings; the same tree for the same bytes.

    A process that plans again, or digests several checkouts, parses and digests each version of a file once.
    """
    tree = ast.parse(source)
    _remove_docstrings(tree)
    return tree


def _remove_docstrings(tree: ast.Module) -> None:
    """Remove the text statements of modules, classes and functions; expressions, which hold none, are not visited."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [item for item in node.body if not _is_string(item)]
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, name, ())
            pending.extend(inside if isinstance(inside, list) else ())


@lru_cache(maxsize=2**16)
def syntax_digest(tree: ast.AST) -> str:
    """Return the sha256 of a syntax tree, once for each tree; positions, comments and formatting are not in it."""
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


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


def dotted(node: ast.expr) -> tuple[str, ...]:
    """Return the names in ``a.b.c`` as a tuple; empty if the expression does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()
