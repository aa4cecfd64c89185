"""Modules that are imported by a call, as ``importlib.import_module("package.module")`` does."""

from __future__ import annotations

import ast
from collections.abc import Callable

from proponent.config.digests.module_source import ModuleSource, Statement
from proponent.config.digests.python_source import dotted

_IMPORTERS = {"importlib.import_module", "importlib.__import__", "builtins.__import__"}
"""Functions whose first argument is the name of a module."""
_LOADERS = {
    *("importlib.util.spec_from_file_location", "importlib.machinery.SourceFileLoader", "runpy.run_path"),
    *(
        "runpy.run_module",
        "pkgutil.resolve_name",
        "pkgutil.iter_modules",
        "pkgutil.walk_packages",
        "pydoc.locate",
    ),
    *("hydra.utils.instantiate", "hydra.utils.get_class", "hydra.utils.get_method", "hydra.utils.get_object"),
    "torch.hub.load",
}
"""Functions that import what cannot be told from the call."""


def imported_by_calls(
    source: ModuleSource, statement: Statement, qualify: Callable[[tuple[str, ...]], str | None]
) -> list[str | None]:
    """Return the modules that a statement imports by calls; None for one whose name is computed.

    Args:
        source: module of the statement.
        statement: statement of the module.
        qualify: returns the full name of a dotted name in the statement, or None.
    """
    tails = {name.rpartition(".")[2] for name in (*_IMPORTERS, *_LOADERS)}
    if not any(
        chain[-1] in tails or qualify(chain) in _IMPORTERS | _LOADERS for chain in statement.uses.chains
    ):
        return []
    found: list[str | None] = []
    named = 0
    for node in ast.walk(statement.node):
        if isinstance(node, (ast.Name, ast.Attribute)) and qualify(dotted(node)) in _IMPORTERS | _LOADERS:
            named += 1
        if isinstance(node, ast.Call) and qualify(dotted(node.func)) in _IMPORTERS:
            found.append(_first_argument(source, node))
    # A function that is not called where it is named may be called with anything.
    return [*found, None] if named > len(found) else found


def _first_argument(source: ModuleSource, call: ast.Call) -> str | None:
    """Return the absolute name of the module that a call imports; None if it is computed."""
    keywords = {item.arg: item.value for item in call.keywords}
    given = _literal(source, call.args[0] if call.args else keywords.get("name"))
    if given is None or not given.startswith("."):
        return given
    name = given.lstrip(".")
    level = len(given) - len(name)
    package = call.args[1] if len(call.args) > 1 else keywords.get("package")
    if package is not None and dotted(package) in (("__package__",), ("__name__",)):
        return source.absolute(name, level)
    parent = _literal(source, package)
    if parent is None:
        return None
    parts = parent.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])


def _literal(source: ModuleSource, node: ast.expr | None) -> str | None:
    """Return the text of an expression: a literal, ``__name__``, or a name that the module assigns one literal to, once."""
    if isinstance(node, ast.Name) and node.id == "__name__":
        return source.name
    if isinstance(node, ast.Name) and len(source.positions.get(node.id, ())) == 1:
        assigned = source.statements[source.positions[node.id][0]].node
        node = assigned.value if isinstance(assigned, (ast.Assign, ast.AnnAssign)) else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
