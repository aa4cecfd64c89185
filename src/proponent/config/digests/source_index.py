"""Index of the checkout's modules: their source, the full names of what they use, and their effects when imported."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from proponent.config.digests.dynamic_imports import imported_by_calls
from proponent.config.digests.import_effects import ImportEffects, is_builtin
from proponent.config.digests.module_source import ModuleSource, Statement


class SourceIndex:
    """Modules whose source is followed; each is read once.

    Args:
        locate: returns the file of a module whose source is followed, or None.
        is_namespace: whether a module is a folder without ``__init__.py``.
        syntax: returns the syntax tree of a file.
    """

    def __init__(
        self,
        locate: Callable[[str], Path | None],
        is_namespace: Callable[[str], bool],
        syntax: Callable[[Path], ast.Module],
    ) -> None:
        self.locate = locate
        self.is_namespace = is_namespace
        self._syntax = syntax
        self._sources: dict[str, ModuleSource | None] = {}
        self._plain: dict[str, bool] = {}

    def is_followed(self, module: str) -> bool:
        """Return whether the source of a module is followed."""
        return self.locate(module) is not None

    def source(self, module: str) -> ModuleSource | None:
        """Return a module of the checkout; None for a compiled one, and for one that is not there."""
        if module not in self._sources:
            path = self.locate(module)
            self._sources[module] = None
            if path is not None and path.suffix == ".py":
                self._sources[module] = ModuleSource(module, path, self._syntax(path))
        return self._sources[module]

    def qualified(self, source: ModuleSource, chain: tuple[str, ...]) -> str | None:
        """Return the full name of what a dotted name stands for in a module; None where it is not certain."""
        if not chain:
            return None
        name, rest = chain[0], chain[1:]
        bindings = source.bindings.get(name, [])
        if name in source.positions:
            return None if bindings else ".".join([source.name, *chain])
        if len(bindings) == 1:
            one = source.imports[bindings[0]]
            return ".".join([one.module, *([one.attribute] if one.attribute else []), *rest])
        return ".".join(["builtins", *chain]) if not bindings and is_builtin(name) else None

    def dynamic_imports(self, source: ModuleSource, statement: Statement) -> list[str | None]:
        """Return the modules that a statement imports by calls; None for one whose name is computed."""
        return imported_by_calls(source, statement, lambda chain: self.qualified_in(source, statement, chain))

    def qualified_in(self, source: ModuleSource, statement: Statement, chain: tuple[str, ...]) -> str | None:
        """Return the full name of a dotted name inside a statement, whose functions may import what they use."""
        for node in statement.uses.imports:
            for one in source.read_import(node, required=False):
                if chain and one.name == chain[0]:
                    return ".".join([one.module, *([one.attribute] if one.attribute else []), *chain[1:]])
        return self.qualified(source, chain)

    def effects(self, source: ModuleSource) -> ImportEffects:
        """Return what decides whether a statement of a module has an effect when it is imported."""
        return ImportEffects(lambda chain: self.qualified(source, chain), self._is_plain_class)

    def _is_plain_class(self, name: str) -> bool:
        """Return whether inheriting from a class of the checkout runs none of its code."""
        if name not in self._plain:
            self._plain[name] = False  # a circle is not plain
            module, _, attribute = name.rpartition(".")
            source = self.source(module) if module else None
            if source is not None:
                self._plain[name] = self._defines_plain_class(source, attribute)
        return self._plain[name]

    def _defines_plain_class(self, source: ModuleSource, name: str) -> bool:
        positions, bindings = source.positions.get(name, []), source.bindings.get(name, [])
        if len(positions) == 1 and not bindings:
            node = source.statements[positions[0]].node
            if not isinstance(node, ast.ClassDef):
                return False
            own = {
                item.name for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
            return "__init_subclass__" not in own and self.effects(source).is_plain(node)
        if len(bindings) == 1 and not positions and source.imports[bindings[0]].attribute:
            one = source.imports[bindings[0]]
            return self._is_plain_class(f"{one.module}.{one.attribute}")
        return False
