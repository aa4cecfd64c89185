"""Shorter graphs for traced passes: operations that do nothing are removed, and biases are added by matrix products.

Gradients that end in a matrix product can be left as its two factors.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_RESHAPES = (_aten.view.default, _aten._unsafe_view.default, _aten.expand.default)
_CONSTANT = (
    _aten.expand.default,
    _aten.div.Scalar,
    _aten.div.Tensor,
    _aten.neg.default,
    _aten.unsqueeze.default,
    _aten.view.default,
    _aten.mul.Tensor,
    _aten.mul.Scalar,
)
"""Operations that are computed once if their inputs are constants."""
_FILLED = (_aten.ones_like.default, _aten.zeros_like.default, _aten.new_zeros.default, _aten.new_ones.default)
"""Operations whose result depends on shape and type of the input only."""


def simplify(module: GraphModule) -> GraphModule:
    """Simplify a graph of ATen operations in place, if none of them writes to its inputs.

    Args:
        module: graph with the metadata of :func:`torch.fx.experimental.proxy_tensor.make_fx`.

    Returns:
        The module.
    """
    graph = module.graph
    called = [node for node in graph.nodes if node.op == "call_function"]
    if any(getattr(node.target, "_schema", None) and node.target._schema.is_mutable for node in called):
        return module
    for node in called:
        same = _same_as(node)
        if same is not None:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
        elif node.target in _FILLED:
            _replace_by_constant(module, node, _filled(node))
        elif node.target in _CONSTANT and all(part.op == "get_attr" for part in node.all_input_nodes):
            _compute_once(module, node)
        elif node.target is _aten.add.Tensor:
            _add_in_product(module, node)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    return module


def open_products(module: GraphModule) -> list[bool | None]:
    """Let a graph return the two factors of each output that is a product of matrices and not used otherwise.

    Args:
        module: graph that returns a tuple of tensors; it is changed in place.

    Returns:
        For each output, whether it is the transposed product of its two factors; None if it is returned as it is.
    """
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    returned: list[Any] = []
    transposed: list[bool | None] = []
    for node in output.args[0]:
        source = node
        if node.target is _aten.transpose.int and sorted(node.args[1:]) == [1, 2] and len(node.users) == 1:
            source = node.args[0]
        opened = source.target is _aten.bmm.default and len(source.users) == 1
        transposed.append(source is not node if opened else None)
        returned.extend(source.args if opened else [node])
    output.args = (tuple(returned),)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return transposed


def _same_as(node: Node) -> Node | None:
    """Return the node with the same values and shape, if there is one among the inputs."""
    source: Any = node.args[0] if node.args else None
    if not isinstance(source, Node) or not isinstance(_value(source), Tensor):
        return None
    if node.target is _aten.detach.default:
        return source
    if node.target is _aten.slice.Tensor and _value(node).shape == _value(source).shape:
        return source
    if node.target in _RESHAPES and _value(node).shape == _value(source).shape:
        return source
    if node.target is _aten.mul.Scalar and node.args[1] == 1 and _value(node).dtype == _value(source).dtype:
        return source
    if node.target is _aten.transpose.int and source.target is _aten.transpose.int:
        axes, before = set(node.args[1:]), set(source.args[1:])
        first: Any = source.args[0]
        return first if axes == before else None
    return None


def _compute_once(module: GraphModule, node: Node) -> None:
    """Replace an operation on constants by its result."""

    def constant(part: Node) -> Any:
        return operator.attrgetter(str(part.target))(module)

    args = torch.fx.node.map_arg(node.args, constant)
    kwargs = torch.fx.node.map_arg(node.kwargs, constant)
    _replace_by_constant(module, node, node.target(*args, **kwargs))  # type: ignore[operator]


def _filled(node: Node) -> Tensor:
    """Return the result of one of the operations :data:`_FILLED`."""
    like = _value(node)
    make = torch.ones if node.target in (_aten.ones_like.default, _aten.new_ones.default) else torch.zeros
    return make(like.shape, dtype=like.dtype, device=like.device)


def _replace_by_constant(module: GraphModule, node: Node, value: Tensor) -> None:
    name = f"_constant_{node.name}"
    module.register_buffer(name, value.detach().clone())
    with module.graph.inserting_before(node):
        replacement = module.graph.get_attr(name)
    replacement.meta = dict(node.meta)
    node.replace_all_uses_with(replacement)
    module.graph.erase_node(node)


def _add_in_product(module: GraphModule, node: Node) -> None:
    """Let a batched matrix product add a bias (models, 1, width) to its result."""
    if len(node.args) != 2 or node.kwargs or not all(isinstance(part, Node) for part in node.args):
        return
    for product, bias in (node.args, node.args[::-1]):
        if not isinstance(product, Node) or not isinstance(bias, Node):
            continue
        if product.target is not _aten.bmm.default or len(product.users) != 1:
            continue
        models, _, width = _value(product).shape
        if _value(bias).shape == (models, 1, width) and _value(bias).dtype == _value(product).dtype:
            with module.graph.inserting_before(node):
                joint = module.graph.call_function(_aten.baddbmm.default, (bias, *product.args))
            joint.meta = dict(node.meta)
            node.replace_all_uses_with(joint)
            module.graph.erase_node(node)
            return


def _value(node: Node) -> Any:
    """Return the example value with the shape and type of a node."""
    return node.meta.get("val")
