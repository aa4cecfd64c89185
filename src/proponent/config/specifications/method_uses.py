"""Operations of needs that a method calls, read from its source without importing it.

The check of a setting tries them on its model before anything is trained. A method names them by calling them: the names are
looked for in its module and in the modules of :mod:`proponent.methods.shared` behind it.
"""

from __future__ import annotations

import ast

from proponent.config.configured_method import Method
from proponent.config.digests.python_source import imports_of
from proponent.config.digests.source_digest import SourceTree

OPERATIONS = {
    "network": ("ggn", "ggn_root", "ggn_product", "hessian", "hessian_product", "kronecker"),
    "replay": ("gradient_and_hessian_products",),
}
"""Operations that some models cannot be used with, by need; every method with the need uses the others."""
_SHARED = "proponent.methods.shared."


def uses_of(tree: SourceTree, method: Method) -> tuple[str, ...]:
    """Return the needs of a method and the operations of them that it calls, such as ``network.ggn_product``.

    A module constant ``USES = {"kind": {"lora": "network.adapted"}}`` adds an operation that only one value of a
    hyper-parameter asks for.

    Args:
        tree: source of the checkout.
        method: method of this package or of the checkout.
    """
    called = _attributes(tree, method.module)
    operations = [
        f"{need}.{operation}"
        for need in method.all_needs
        for operation in OPERATIONS.get(need, ())
        if operation in called
    ]
    chosen = [
        operations_by_value[str(value)]
        for parameter, operations_by_value in method.uses.items()
        for value in method.values_of(parameter)
        if str(value) in operations_by_value
    ]
    return tuple(dict.fromkeys((*method.all_needs, *operations, *chosen)))


def _attributes(tree: SourceTree, module: str) -> set[str]:
    """Return the names of all attributes that a module, and what it shares with others, looks up."""
    names: set[str] = set()
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = tree.find(name)
        if name in seen or path is None or path.suffix != ".py":
            continue
        seen.add(name)
        syntax = tree.syntax(path)
        names |= {node.attr for node in ast.walk(syntax) if isinstance(node, ast.Attribute)}
        for imported in imports_of(syntax, name, path.name == "__init__.py"):
            parent = imported.rpartition(".")[0]
            target = parent if tree.find(imported) is None else imported
            if target.startswith(_SHARED) and not target.startswith(f"{_SHARED}needs"):
                pending.append(target)
    return names
