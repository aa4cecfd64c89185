"""A module as its definitions, its imports and the statements that have an effect when it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from proponent.config.digests.name_uses import COMPREHENSIONS, NameUses, bound_by, name_uses
from proponent.config.digests.python_source import dotted, syntax_digest

_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
"""Exceptions whose handler makes the imports of a ``try`` optional."""

STAR = "*"


@dataclass(frozen=True)
class Import:
    """One name of an import statement.

    Attributes:
        name: the name that it binds; ``*`` for all names of the module.
        module: absolute name of the module that the name stands for, or that holds ``attribute``.
        attribute: the attribute or submodule of ``module`` that the name stands for; empty for the module itself.
        full: everything that is imported, dotted: ``a.b`` for both ``import a.b`` and ``from a import b``.
        required: whether the import runs whenever the module is imported, and must not fail.
    """

    name: str
    module: str
    attribute: str
    full: str
    required: bool

    @property
    def text(self) -> str:
        """What the import does, independent of how it is written."""
        return f"{self.name}={self.module}:{self.attribute}"


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement at the top of a module, other than a plain import."""

    node: ast.stmt
    names: frozenset[str]
    """Names that it binds in the module."""

    @cached_property
    def digest(self) -> str:
        """Digest of its syntax."""
        return syntax_digest(self.node)

    @cached_property
    def uses(self) -> NameUses:
        """Names that it uses."""
        return name_uses(self.node)


class ModuleSource:
    """The statements and imports of one module.

    Args:
        name: its dotted name.
        path: its file.
        tree: its syntax.
    """

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name = name
        self.path = path
        self.is_package = path.name == "__init__.py"
        self.statements: list[Statement] = []
        self.imports: list[Import] = []
        for node in _that_run(tree.body):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imports += self.read_import(node, required=True)
            else:
                self._add(node)

    def _add(self, node: ast.stmt) -> None:
        names: set[str] = set()
        for item, required in _outside_functions(node):
            if isinstance(item, (ast.Import, ast.ImportFrom)):
                found = self.read_import(item, required)
                self.imports += found
                names |= {one.name for one in found}
            else:
                names |= bound_by(item)
        self.statements.append(Statement(node, frozenset(names)))

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """Positions of the statements that bind each name."""
        found: dict[str, list[int]] = {}
        for position, statement in enumerate(self.statements):
            for name in statement.names:
                found.setdefault(name, []).append(position)
        return found

    @cached_property
    def bindings(self) -> dict[str, list[int]]:
        """Positions of the imports that bind each name."""
        found: dict[str, list[int]] = {}
        for position, one in enumerate(self.imports):
            found.setdefault(one.name, []).append(position)
        return found

    @cached_property
    def used_names(self) -> set[str]:
        """Names that any statement of the module uses."""
        return {chain[0] for statement in self.statements for chain in statement.uses.chains}

    def read_import(self, node: ast.Import | ast.ImportFrom, required: bool) -> list[Import]:
        """Return the names of an import statement; relative ones are resolved against this module."""
        if isinstance(node, ast.Import):
            return [
                Import(alias.asname, alias.name, "", alias.name, required)
                if alias.asname
                else Import(
                    alias.name.partition(".")[0], alias.name.partition(".")[0], "", alias.name, required
                )
                for alias in node.names
            ]
        base = self.absolute(node.module or "", node.level)
        return [
            Import(STAR, base, "", base, required)
            if alias.name == STAR
            else Import(alias.asname or alias.name, base, alias.name, f"{base}.{alias.name}", required)
            for alias in node.names
        ]

    def absolute(self, module: str, level: int) -> str:
        """Return the absolute name of a module that is imported with ``level`` leading dots."""
        if not level:
            return module
        parts = self.name.split(".")
        keep = len(parts) - level + (1 if self.is_package else 0)
        return ".".join([*parts[:keep], *([module] if module else [])])


def _that_run(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, without those that only a type checker or ``python module.py`` runs."""
    for node in body:
        if isinstance(node, ast.If) and _is_never_true(node.test):
            yield from _that_run(node.orelse)
        else:
            yield node


def _is_never_true(test: ast.expr) -> bool:
    if dotted(test)[-1:] == ("TYPE_CHECKING",):
        return True
    return (
        isinstance(test, ast.Compare)
        and dotted(test.left) == ("__name__",)
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value == "__main__"
    )


def _outside_functions(statement: ast.stmt) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the nodes that run in the module's own scope, and whether each runs whenever the module is imported."""
    pending: list[tuple[ast.AST, bool]] = [(statement, True)]
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    while pending:
        node, always = pending.pop()
        yield node, always
        if isinstance(node, scopes):
            continue
        if isinstance(node, COMPREHENSIONS):  # its variables are its own, apart from those of ``:=``
            pending.extend(
                (item.target, always) for item in ast.walk(node) if isinstance(item, ast.NamedExpr)
            )
            continue
        inside = always and not _may_skip(node)
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))


def _may_skip(node: ast.AST) -> bool:
    """Return whether the statements inside ``node`` need not run, or may fail to import without harm."""
    if isinstance(node, (ast.Try, ast.TryStar)):
        return any(_handles_import_error(handler) for handler in node.handlers)
    return isinstance(node, (ast.If, ast.For, ast.While, ast.Match, ast.ExceptHandler))


def _handles_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(item, ast.Name) and item.id in _CAUGHT for item in ast.walk(handler.type))
