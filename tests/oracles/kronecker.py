"""Kronecker factors of one layer by hooks and ordinary backward passes, one example at a time, in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def layer_sides(
    module: nn.Module, layer: nn.Module, x: Tensor, cotangents: Tensor
) -> list[tuple[Tensor, list[Tensor]]]:
    """Return, for each example, the inputs of a layer (T, in) and its output gradients, (T, out) per cotangent.

    Args:
        module: model that contains the layer.
        layer: ``nn.Linear``, ``nn.Conv2d`` or ``nn.Embedding`` of the model, used once.
        x: inputs of the model, (n, ...).
        cotangents: K gradients with respect to the outputs per example, (n, K, *outputs).
    """
    found = []
    for one, seeds in zip(x.split(1), cotangents, strict=True):
        kept: dict[str, Tensor] = {}

        def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, kept: dict = kept) -> None:
            kept["in"], kept["out"] = inputs[0].detach(), output

        handle = layer.register_forward_hook(keep)
        outputs = module.eval()(one)[0]
        handle.remove()
        back = [torch.autograd.grad(outputs, kept["out"], seed, retain_graph=True)[0] for seed in seeds]
        found.append((_inputs(layer, kept["in"]), [_back(layer, each) for each in back]))
    return found


def _inputs(layer: nn.Module, taken: Tensor) -> Tensor:
    if isinstance(layer, nn.Embedding):
        return F.one_hot(taken.flatten(), layer.num_embeddings).to(layer.weight.dtype)
    if isinstance(layer, nn.Conv2d):
        rows = F.unfold(taken, layer.kernel_size, layer.dilation, layer.padding, layer.stride)[0].T
    else:
        rows = taken.reshape(-1, taken.shape[-1])
    return rows if layer.bias is None else torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def _back(layer: nn.Module, back: Tensor) -> Tensor:
    return back[0].flatten(1).T if isinstance(layer, nn.Conv2d) else back.reshape(-1, back.shape[-1])


def layer_factors(sides: list[tuple[Tensor, list[Tensor]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (inputs), S (output gradients) and the block of the GGN itself, coordinates (out, in) row-major."""
    n, positions = len(sides), len(sides[0][0])
    inputs = sum(a.T @ a for a, _ in sides) / n
    outputs = sum(d.T @ d for _, back in sides for d in back) / (n * positions)
    rows = [(d.T @ a).flatten() for a, back in sides for d in back]
    return inputs, outputs, torch.stack(rows).T @ torch.stack(rows) / n


def dense_kronecker(
    root: Tensor, inputs: list[Tensor], shapes: list[tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a network's eigenbasis (p, p), and K-FAC's and EK-FAC's eigenvalues (p,), of plain linear layers.

    Args:
        root: rows whose mean outer product times K is the GGN, K rows per example, (n * K, p).
        inputs: inputs of each layer, (n, in).
        shapes: (out, in) of each layer; parameters are flattened row-major, layer after layer.
    """
    n = len(inputs[0])
    bases, products = [], []
    for taken, block, (out, width) in zip(
        inputs, root.split([a * b for a, b in shapes], dim=1), shapes, strict=True
    ):
        gradients = block.reshape(n, -1, out, width)
        back = torch.einsum("nkoi,ni->nko", gradients, taken) / (taken**2).sum(1)[:, None, None]
        values_in, vectors_in = torch.linalg.eigh(taken.T @ taken / n)
        values_out, vectors_out = torch.linalg.eigh(torch.einsum("nko,nkp->op", back, back) / n)
        bases.append(torch.kron(vectors_out, vectors_in))
        products.append(torch.kron(values_out, values_in).clamp_min(0))
    basis = torch.block_diag(*bases)
    return basis, torch.cat(products), ((root @ basis) ** 2).sum(0) / n
