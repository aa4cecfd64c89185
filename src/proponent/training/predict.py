"""Targets of stacked models on given examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import vmap

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.rows import Rows, rows_at_a_time
from proponent.settings.tasks import Task
from proponent.torch_compat import layered, stackable
from proponent.torch_failures import explained, layer_name
from proponent.training.largest_result import LargestResult
from proponent.training.pass_choice import is_recurrent
from proponent.training.stack import call

MODELS = 25
"""Models evaluated at a time; more are not faster."""
RESULT_BYTES = 64 * 2**20
"""Largest result of an operation, for all models and examples that are evaluated together; a pass holds a few of them."""
COMPARED = 4
"""Examples whose targets are compared with an ordinary pass of the last model."""


def targets(
    template: nn.Module,
    state: Mapping[str, Tensor],
    x: Rows,
    y: Tensor,
    task: Task,
    *,
    models: int = MODELS,
    batch_size: int = 256,
) -> Tensor:
    """Return the target of every example under every model, (models, n), on the CPU and without dropout.

    Args:
        template: module with the architecture and the shared tensors.
        state: tensors in which the models differ, (models, …) each.
        x: (n, …) inputs.
        y: (n, …) labels.
        task: task that gives the target.
        models: models evaluated at a time, or fewer of a model whose activations are large.
        batch_size: examples evaluated at a time, or fewer where rows or activations are large.
    """

    def target(tensors: dict[str, Tensor], x: Rows, y: Tensor) -> Tensor:
        return task.target(call(template, tensors, x), y)

    device = next(iter(state.values())).device
    n_models = len(next(iter(state.values())))
    template.eval()
    rows: list[Tensor] = []
    alone = is_recurrent(template)
    with (
        explained(template, "cannot be evaluated in lockstep"),
        torch.no_grad(),
        layered() if alone else stackable(),
    ):
        last = {name: value[-1] for name, value in state.items()}
        with LargestResult() as largest:
            ordinary = target(last, x[:COMPARED].to(device), y[:COMPARED].to(device)).cpu()
        pairs = max(1, RESULT_BYTES * min(COMPARED, len(x)) // max(1, largest.bytes))
        batch_size = min(rows_at_a_time(x, batch_size), pairs)
        together = _one_by_one(target) if alone else vmap(target, in_dims=(0, None, None))
        for some in chunks(n_models, min(models, max(1, pairs // batch_size))):
            chosen = {name: value[some] for name, value in state.items()}
            parts = [
                together(chosen, x[batch].to(device), y[batch].to(device)).cpu()
                for batch in chunks(len(x), batch_size)
            ]
            rows.append(torch.cat(parts, dim=1))
    _compare(template, rows[-1][-1, :COMPARED], ordinary)
    return torch.cat(rows)


def _one_by_one(target: Callable[[dict[str, Tensor], Rows, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return a function of stacked tensors that computes the target of one model after the other."""

    def run(tensors: dict[str, Tensor], x: Rows, y: Tensor) -> Tensor:
        models = range(len(next(iter(tensors.values()))))
        return torch.stack(
            [target({name: value[model] for name, value in tensors.items()}, x, y) for model in models]
        )

    return run


def _compare(template: nn.Module, stacked: Tensor, ordinary: Tensor) -> None:
    """Refuse a model whose targets differ between a stack and an ordinary pass."""
    finite = ordinary[ordinary.isfinite()]
    scale = float(finite.abs().max()) if len(finite) else 1.0
    if not torch.allclose(stacked, ordinary, rtol=1e-3, atol=1e-3 * max(scale, 1e-6), equal_nan=True):
        raise UserError(
            f"{layer_name(template, '')} gives other outputs in a stack of models than alone, by "
            f"{float((stacked - ordinary).abs().max()):.1e}; let its outputs depend on its parameters and the example only"
        )
