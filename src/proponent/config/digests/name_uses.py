"""Names that a statement uses from outside itself, found by the scoping rules of Python.

A name that is local to a function is not one of them, so a local variable does not reach a definition of the same name.
Where scoping is uncertain, the name counts as used.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*_FUNCTIONS, *COMPREHENSIONS, ast.ClassDef)
Hidden = frozenset[str]


@dataclass
class NameUses:
    """What a statement uses.

    Attributes:
        chains: names with the attributes that are read from them: ``a.b.c`` is ``("a", "b", "c")``.
        attributes: names of attributes of other expressions.
        imports: import statements inside functions, classes and blocks.
    """

    chains: set[tuple[str, ...]] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)


@lru_cache(maxsize=2**16)
def name_uses(statement: ast.AST) -> NameUses:
    """Return the names that a statement at the top of a module uses, its own functions included; once for each tree."""
    uses = NameUses()
    _visit(statement, frozenset(), uses)
    return uses


def _visit(node: ast.AST, hidden: Hidden, uses: NameUses) -> None:
    if isinstance(node, ast.Attribute):
        _visit_attribute(node, hidden, uses)
    elif isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Store) and node.id not in hidden:
            uses.chains.add((node.id,))
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        uses.imports.append(node)
    elif isinstance(node, ast.Global):
        uses.chains.update((name,) for name in node.names)
    elif isinstance(node, _FUNCTIONS):
        _visit_function(node, hidden, uses)
    elif isinstance(node, COMPREHENSIONS):
        _visit_comprehension(node, hidden, uses)
    elif isinstance(node, ast.AnnAssign):
        _visit_annotation(node.annotation, hidden, uses)
        _visit_all([node.target, node.value], hidden, uses)
    else:
        _visit_all(ast.iter_child_nodes(node), hidden, uses)


def _visit_all(nodes: Iterable[ast.AST | None], hidden: Hidden, uses: NameUses) -> None:
    for node in nodes:
        if node is not None:
            _visit(node, hidden, uses)


def _visit_attribute(node: ast.Attribute, hidden: Hidden, uses: NameUses) -> None:
    attributes = [node.attr]
    value = node.value
    while isinstance(value, ast.Attribute):
        attributes.append(value.attr)
        value = value.value
    if not isinstance(value, ast.Name):
        uses.attributes.update(attributes)
        _visit(value, hidden, uses)
    elif value.id in hidden:
        uses.attributes.update(attributes)
    else:
        uses.chains.add((value.id, *reversed(attributes)))


def _visit_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, hidden: Hidden, uses: NameUses
) -> None:
    given = node.args
    _visit_all([*given.defaults, *given.kw_defaults], hidden, uses)
    if isinstance(node, ast.Lambda):
        _visit(node.body, hidden | _arguments(node), uses)
        return
    _visit_all(node.decorator_list, hidden, uses)
    _visit_all(getattr(node, "type_params", ()), hidden, uses)
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    for annotation in [*(item.annotation for item in arguments if item), node.returns]:
        if annotation is not None:
            _visit_annotation(annotation, hidden, uses)
    local, shared = _bound_in(node)
    _visit_all(node.body, (hidden - shared) | local, uses)


def _visit_comprehension(node: ast.AST, hidden: Hidden, uses: NameUses) -> None:
    generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
    _visit(generators[0].iter, hidden, uses)
    inside = hidden | {
        item.id
        for generator in generators
        for item in ast.walk(generator.target)
        if isinstance(item, ast.Name)
    }
    for position, generator in enumerate(generators):
        _visit_all([generator.target, *generator.ifs], inside, uses)
        if position:
            _visit(generator.iter, inside, uses)
    if isinstance(node, ast.DictComp):
        _visit_all([node.key, node.value], inside, uses)
    else:
        _visit(node.elt, inside, uses)  # type: ignore[attr-defined]


def _visit_annotation(node: ast.expr, hidden: Hidden, uses: NameUses) -> None:
    """Visit an annotation; text in it, apart from the values of a Literal, is an expression that may be evaluated."""
    _visit(node, hidden, uses)
    pending: list[ast.AST] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            try:
                _visit(ast.parse(item.value, mode="eval").body, hidden, uses)
            except SyntaxError:
                continue
        elif not (isinstance(item, ast.Subscript) and ast.unparse(item.value).endswith("Literal")):
            pending.extend(ast.iter_child_nodes(item))


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Hidden:
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return frozenset(item.arg for item in arguments if item is not None)


def _bound_in(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Hidden, Hidden]:
    """Return the names that are local to a function, and those that it imports or declares as global."""
    local, shared = set(_arguments(node)), set()
    pending: list[ast.AST] = list(node.body)
    while pending:
        item = pending.pop()
        if isinstance(item, (ast.Import, ast.ImportFrom)):
            shared |= {alias.asname or alias.name.partition(".")[0] for alias in item.names}
        elif isinstance(item, ast.Global):
            shared |= set(item.names)
        else:
            local |= bound_by(item)
        if not isinstance(item, _SCOPES):
            pending.extend(ast.iter_child_nodes(item))
    return frozenset(local - shared), frozenset(shared)


def bound_by(node: ast.AST) -> set[str]:
    """Return the names that one node binds, without those inside it: assigned, defined, captured or deleted."""
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return {node.name} if node.name else set()
    if isinstance(node, ast.MatchMapping):
        return {node.rest} if node.rest else set()
    return set()
