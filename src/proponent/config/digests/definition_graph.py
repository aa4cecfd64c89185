"""The graph of definitions: which definitions, imports and third-party modules a definition reaches.

An attribute of a module of the checkout (``helpers.f``) reaches that attribute alone. What cannot be followed reaches whole
modules: a module that is passed on, ``globals()``, a star import, an attribute that the module does not define. The
statements of a module that have an effect belong to all of its definitions, in every module that is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from proponent.config.digests.import_effects import is_builtin
from proponent.config.digests.module_source import STAR, Import, ModuleSource, Statement
from proponent.config.digests.plumbing import is_plumbing
from proponent.config.digests.python_source import dotted
from proponent.config.digests.source_index import SourceIndex

_OWN_MODULE = {"builtins.globals", "builtins.eval", "builtins.exec", "builtins.locals"}
"""Functions that look names up in the module that calls them."""
_ANY_MODULE = {"sys.modules", "sys._getframe", "inspect.getmodule", "inspect.currentframe", "gc.get_objects"}
_ANY_MODULE_ATTRIBUTES = {"__subclasses__", "__globals__", "f_globals", "f_back"}
"""Names that look definitions up anywhere."""
_OF_EVERY_MODULE = {"__file__", "__name__", "__doc__", "__package__", "__spec__"}


class Kind(Enum):
    """Kinds of nodes."""

    module = "module"
    """A module of the checkout that is imported; ``detail`` tells whether the import must succeed."""
    statement = "statement"
    """A statement of a module; ``detail`` is its position."""
    binding = "binding"
    """An import of a module, as it binds a name; ``detail`` is its position."""
    whole = "whole"
    """Everything in a module."""
    loaded_below = "loaded_below"
    """Everything in those modules below a package that are imported by anything."""
    third_party = "third_party"
    """A module of another distribution that something reached uses."""
    needed = "needed"
    """A module of another distribution whose import must succeed; ``detail`` is the file that imports it."""


class Node(NamedTuple):
    """A node of the graph."""

    kind: Kind
    module: str
    detail: int | bool | str = 0


EVERYTHING = Node(Kind.loaded_below, "")
"""Everything in all modules that are imported."""


class DefinitionGraph:
    """Edges between definitions; each is found once.

    Args:
        index: the modules of the checkout.
    """

    def __init__(self, index: SourceIndex) -> None:
        self.index = index
        self._edges: dict[Node, tuple[Node, ...]] = {}
        self._following: set[tuple[str, tuple[str, ...]]] = set()

    def closure(self, roots: Iterable[str]) -> set[Node]:
        """Return everything that is reached from ``roots``.

        Args:
            roots: ``module`` for everything in a module, ``module:name`` for one definition, ``module:Class.method`` for
                an attribute of one.
        """
        pending = [node for root in roots for node in self._of_root(root)]
        seen: set[Node] = set()
        while pending:
            while pending:
                node = pending.pop()
                if node not in seen:
                    seen.add(node)
                    pending.extend(self.edges(node))
            opened = [node.module for node in seen if node.kind is Kind.loaded_below]
            imported = {node.module for node in seen if node.kind is Kind.module} if opened else set()
            below = {name for name in imported for package in opened if _is_below(name, package)}
            pending = [node for name in below if (node := Node(Kind.whole, name)) not in seen]
        return seen

    def edges(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that ``node`` reaches directly."""
        if node not in self._edges:
            self._edges[node] = tuple(dict.fromkeys(self._find_edges(node)))
        return self._edges[node]

    def _of_root(self, root: str) -> list[Node]:
        module, _, name = root.partition(":")
        return [
            *self._run(module, True, ""),
            *self._attribute(module, tuple(name.split(".")) if name else (), module),
        ]

    def _find_edges(self, node: Node) -> list[Node]:
        source = self.index.source(node.module)
        if source is None:
            return []
        if node.kind is Kind.module:
            return self._of_module(source, bool(node.detail))
        if node.kind is Kind.statement:
            return self._of_statement(source, int(node.detail))
        if node.kind is Kind.whole:
            return self._of_whole(source)
        return []

    def _of_module(self, source: ModuleSource, required: bool) -> list[Node]:
        """Return what runs whenever a module is imported: its packages, its imports, and its statements with an effect."""
        nodes: list[Node] = []
        package = source.name.rpartition(".")[0]
        if self.index.is_followed(package):
            nodes += self._run(package, required, str(source.path))
        effects = self.index.effects(source)
        for position, statement in enumerate(source.statements):
            if effects.has_effect(statement.node):
                nodes.append(Node(Kind.statement, source.name, position))
        for position, one in enumerate(source.imports):
            nodes += self._run_import(one, required and one.required, source)
            if one.name == STAR:
                nodes += [
                    Node(Kind.binding, source.name, position),
                    *self._attribute(one.module, (), one.full),
                ]
            elif one.name not in source.used_names and not self.index.is_followed(one.module):
                nodes.append(
                    Node(Kind.third_party, one.full)
                )  # an import for its effect, or for others to import
        return nodes

    def _of_statement(self, source: ModuleSource, position: int) -> list[Node]:
        statement = source.statements[position]
        uses = statement.uses
        inner = [one for node in uses.imports for one in source.read_import(node, required=False)]
        used = {chain[0] for chain in uses.chains}
        nodes: list[Node] = []
        for one in inner:
            nodes += self._run_import(one, False, source)
            if one.name not in used:  # all names, an import for its effect, or an attribute of a class
                nodes += self._import(one, ())
        for chain in uses.chains:
            nodes += self._name(source, chain, inner)
        if ("vars",) in uses.chains and any(map(_is_bare_vars, ast.walk(statement.node))):
            nodes.append(Node(Kind.whole, source.name))
        if uses.attributes & _ANY_MODULE_ATTRIBUTES:
            nodes.append(EVERYTHING)
        if not source.name.startswith("proponent."):
            nodes += self._imported_by_call(source, statement)
        return nodes

    def _of_whole(self, source: ModuleSource) -> list[Node]:
        nodes = [Node(Kind.statement, source.name, position) for position in range(len(source.statements))]
        for position, one in enumerate(source.imports):
            nodes += [Node(Kind.binding, source.name, position), *self._import(one, ())]
        if source.is_package:
            nodes.append(Node(Kind.loaded_below, source.name))
        return nodes

    def _name(self, source: ModuleSource, chain: tuple[str, ...], inner: list[Import]) -> list[Node]:
        """Return what a name with its attributes reaches from inside a module."""
        name, rest = chain[0], chain[1:]
        nodes = [Node(Kind.statement, source.name, position) for position in source.positions.get(name, ())]
        for position in source.bindings.get(name, ()):
            nodes += [
                Node(Kind.binding, source.name, position),
                *self._import(source.imports[position], rest),
            ]
        for one in inner:
            if one.name == name:
                nodes += self._import(one, rest)
        if not nodes and is_builtin(name) and f"builtins.{name}" in _OWN_MODULE:
            nodes.append(Node(Kind.whole, source.name))
        if set(rest) & _ANY_MODULE_ATTRIBUTES:
            nodes.append(EVERYTHING)
        return nodes

    def _import(self, one: Import, rest: tuple[str, ...]) -> list[Node]:
        attributes = (one.attribute, *rest) if one.attribute else rest
        nodes = self._attribute(one.module, attributes, one.full)
        full = ".".join([one.module, *attributes])
        if any(full == name or full.startswith(f"{name}.") for name in _ANY_MODULE):
            nodes.append(EVERYTHING)
        return nodes

    def _attribute(self, module: str, names: tuple[str, ...], imported: str) -> list[Node]:
        """Return what ``module.a.b`` reaches, for ``names`` (a, b).

        Args:
            module: a module of the checkout or of another distribution.
            names: attributes, from the left; none if the module itself is used as a value.
            imported: dotted name of the import that named the module.
        """
        followed = (module, names)
        if followed in self._following:  # a module that imports the name from itself
            return []
        self._following.add(followed)
        try:
            return self._find_attribute(module, names, imported)
        finally:
            self._following.discard(followed)

    def _find_attribute(self, module: str, names: tuple[str, ...], imported: str) -> list[Node]:
        below = f"{module}.{names[0]}" if names else ""
        has_below = bool(names) and (self.index.is_followed(below) or self.index.is_namespace(below))
        if is_plumbing(module):
            return self._attribute(below, names[1:], imported) if has_below else []
        source = self.index.source(module)
        if source is None:
            if self.index.locate(module) is not None:
                return [*self._run(module, False, ""), Node(Kind.whole, module)]
            if self.index.is_namespace(module):
                return (
                    self._attribute(below, names[1:], imported)
                    if has_below
                    else [Node(Kind.loaded_below, module)]
                )
            return [Node(Kind.third_party, imported)]
        nodes = self._run(module, False, "")
        if not names:
            return [*nodes, Node(Kind.whole, module)]
        name, rest = names[0], names[1:]
        found = [Node(Kind.statement, module, position) for position in source.positions.get(name, ())]
        for position in source.bindings.get(name, ()):
            found.append(Node(Kind.binding, module, position))
            found += self._import(source.imports[position], rest)
        if has_below:
            found += self._attribute(below, rest, imported)
        if not found and name not in _OF_EVERY_MODULE:
            found.append(Node(Kind.whole, module))
        return [*nodes, *found]

    def _run(self, module: str, required: bool, importer: str) -> list[Node]:
        """Return what an import of a module runs."""
        if not module or is_plumbing(module):
            return []
        if self.index.locate(module) is not None:
            return [Node(Kind.module, module, required)]
        return [Node(Kind.needed, module, importer)] if required else []

    def _run_import(self, one: Import, required: bool, source: ModuleSource) -> list[Node]:
        is_module = self.index.locate(one.full) is not None or self.index.locate(one.module) is None
        target = one.full if is_module or not one.attribute else one.module
        return self._run(target, required, str(source.path))

    def _imported_by_call(self, source: ModuleSource, statement: Statement) -> list[Node]:
        """Return what calls of ``import_module`` import; a module that is named by a literal is then used as a value."""
        nodes: list[Node] = []
        for module in self.index.dynamic_imports(source, statement):
            if module is None:
                nodes.append(Node(Kind.whole, source.name))
            else:
                nodes += [*self._run(module, False, ""), *self._attribute(module, (), module)]
        return nodes


def _is_bare_vars(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and not node.args and dotted(node.func) == ("vars",)


def _is_below(module: str, package: str) -> bool:
    return not package or module == package or module.startswith(f"{package}.")
