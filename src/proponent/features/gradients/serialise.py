"""Serialisation of gradient blocks: named tensors for a file, and a layout in plain values.

The input of a first layer is usually an input of the model itself, of which only name and shape are stored. A tensor
that is the input of several operations (queries, keys and values of attention) is stored once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from torch import Tensor

from proponent.features.gradients.block import Block
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.factors import Factor, Geometry, Term
from proponent.features.gradients.per_parameter import Part, RowsPart, WeightPart
from proponent.rows import Rows, named_tensors


def to_tensors(block: Block) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a block by name, and their layout in plain values (for JSON)."""
    if isinstance(block, DenseGradients):
        layout: dict[str, Any] = {"kind": "dense", "parameters": _plain(block)}
        if isinstance(block.last, tuple):
            return {"values": block.values}, {**layout, "last": {"names": list(block.last)}}
        of_last, last = to_tensors(block.last)
        kept = {f"last.{name}": tensor for name, tensor in of_last.items()}
        return {"values": block.values, **kept}, {**layout, "last": last}
    tensors: dict[str, Tensor] = {}
    names: dict[tuple[Any, ...], str] = {}

    def store(tensor: Tensor, name: str) -> str:
        known = names.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype), name)
        tensors[known] = tensor
        return known

    def describe(factor: Factor, name: str) -> dict[str, Any]:
        geometry = None if factor.geometry is None else asdict(factor.geometry)
        kind = {"tokens": factor.tokens, "geometry": geometry}
        if factor.from_x is not None:
            return {"input": factor.from_x, "shape": list(factor.values.shape[1:]), **kind}
        if factor.positions_innermost:
            return {"stored": store(factor.values.mT, name), "transposed": True, **kind}
        return {"stored": store(factor.values, name), "transposed": False, **kind}

    parts: list[dict[str, Any]] = []
    for index, part in enumerate(block.parts):
        if isinstance(part, RowsPart):
            parts.append({"name": part.name, "stored": store(part.values, f"{index}.rows")})
            continue
        terms = [
            {
                "start": term.start,
                "left": describe(term.left, f"{index}.{use}.left"),
                "right": describe(term.right, f"{index}.{use}.right"),
            }
            for use, term in enumerate(part.terms)
        ]
        parts.append(
            {"name": part.name, "rows": part.rows, "columns": part.columns, "bias": part.bias, "terms": terms}
        )
    return tensors, {
        "kind": "factored",
        "parameters": _plain(block),
        "last": list(block.last),
        "parts": parts,
    }


def from_tensors(layout: dict[str, Any], get: Callable[[str], Tensor], x: Rows, *, repeats: int = 1) -> Block:
    """Return the block that :func:`to_tensors` turned into tensors.

    Args:
        layout: layout in plain values.
        get: function that returns a tensor by its name.
        x: (n, ...) inputs of the same examples.
        repeats: gradients per example.
    """
    parameters = {name: tuple(shape) for name, shape in layout["parameters"].items()}
    if layout["kind"] == "dense":
        if "names" in layout["last"]:
            return DenseGradients(get("values"), parameters, tuple(layout["last"]["names"]))
        last = from_tensors(layout["last"], lambda name: get(f"last.{name}"), x, repeats=repeats)
        return DenseGradients(get("values"), parameters, last)
    read: dict[str, Tensor] = {}
    inputs = named_tensors(x)

    def factor(spec: dict[str, Any]) -> Factor:
        if "input" in spec:
            values = inputs[spec["input"]].reshape(len(x), *spec["shape"])
            return Factor(values, spec["tokens"], _geometry(spec), from_x=spec["input"])
        if spec["stored"] not in read:
            read[spec["stored"]] = get(spec["stored"])
        values = read[spec["stored"]]
        return Factor(values.mT if spec["transposed"] else values, spec["tokens"], _geometry(spec))

    parts: list[Part] = []
    for part in layout["parts"]:
        if "stored" in part:
            parts.append(RowsPart(part["name"], get(part["stored"])))
            continue
        terms = tuple(
            Term(factor(term["left"]), factor(term["right"]), term["start"]) for term in part["terms"]
        )
        parts.append(WeightPart(part["name"], part["rows"], part["columns"], terms, part["bias"]))
    return FactoredGradients(parameters, tuple(parts), tuple(layout["last"]), len(x) * repeats)


def _plain(block: Block) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in block.parameters.items()}


def _geometry(spec: dict[str, Any]) -> Geometry | None:
    found = spec["geometry"]
    if found is None:
        return None
    sizes = {name: tuple(found[name]) for name in ("kernel", "stride", "dilation")}
    return Geometry(**sizes, padding=tuple((low, high) for low, high in found["padding"]))
