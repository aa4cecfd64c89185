"""Operations of needs that a method calls, read from its source without importing it.

The check of a setting tries all of them on its model before anything is trained. A method names those that it uses by
calling them: the names are looked for in its definitions and in those of :mod:`proponent.methods.shared` behind them.
"""

from __future__ import annotations

from proponent.config.configured_method import Method
from proponent.config.digests.definition_graph import Kind
from proponent.config.digests.source_digest import SourceTree

OPERATIONS = {
    "network": ("ggn", "ggn_root", "ggn_product", "hessian", "hessian_product", "kronecker"),
    "replay": ("gradient_and_hessian_products",),
}
"""Operations that some models cannot be used with, by need; every method with the need uses the others."""
TRIED = (
    *("gradients", "gradients.last", "outputs", "representations"),
    *("network", *(f"network.{name}" for name in (*OPERATIONS["network"], "dropped", "adapted"))),
    *("replay", *(f"replay.{name}" for name in OPERATIONS["replay"])),
)
"""Everything that a model may lack."""
_NEEDS = "proponent.methods.shared.needs"


def uses_of(tree: SourceTree, method: Method) -> tuple[str, ...]:
    """Return the needs of a method and the operations of them that it calls, such as ``network.ggn_product``.

    A module constant ``USES = {"kind": {"lora": "network.adapted"}}`` adds an operation that only one value of a
    hyper-parameter asks for.

    Args:
        tree: source of the checkout.
        method: method of this package or of the checkout.
    """
    called = _attributes(tree, method.code)
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


def _attributes(tree: SourceTree, code: tuple[str, ...]) -> set[str]:
    """Return the names of all attributes that a method, and what it shares with others, looks up."""
    names: set[str] = set()
    for node in tree.definitions.closure(code):
        source = tree.definitions.index.source(node.module)
        if source is None or node.kind is not Kind.statement or not _is_of_a_method(node.module):
            continue
        uses = source.statements[int(node.detail)].uses
        names |= uses.attributes.union(*(chain[1:] for chain in uses.chains))
    return names


def _is_of_a_method(module: str) -> bool:
    """Return whether a module holds code of methods: the user's own, or this package's without the needs themselves."""
    return not module.startswith("proponent.") or (
        module.startswith("proponent.methods.") and not module.startswith(_NEEDS)
    )
