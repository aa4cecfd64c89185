"""Outputs that are probabilities where the task takes logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proponent.config.task_names import LOGIT_TASKS
from proponent.rows import Rows, outputs_of
from proponent.self_check.subject import Subject

_SPREADS = (0.0, 1.0, 10.0)
"""Sizes of the random changes of the parameters: outputs that stay in [0, 1] for all of them are bounded."""
_ROWS = 64


def refuse_probabilities(subject: Subject, model: nn.Module) -> None:
    """Refuse a model that ends in softmax, sigmoid or ``[1 - p, p]`` for a task whose loss takes logits.

    Log-probabilities are logits as well: their softmax is the same distribution.

    Args:
        subject: setting.
        model: untrained model, whose parameters are changed.

    Raises:
        UserError: outputs are probabilities, whatever the parameters.
    """
    if subject.task.name not in LOGIT_TASKS:
        return
    x = subject.data.x_train[subject.some(_ROWS)]
    outputs = [_with_noise(model, x, spread) for spread in _SPREADS]
    rows = torch.cat([found.reshape(-1, found.shape[-1] if found.ndim > 1 else 1) for found in outputs])
    joined = rows[rows.isfinite().all(-1)]
    sums = joined.sum(-1)
    sums_are_equal = bool(((sums - sums[0]).abs() < 1e-3 * sums[0].abs()).all())
    are_shares = bool((joined >= 0).all()) and (sums_are_equal or bool((joined <= 1 + 1e-4).all()))
    if not are_shares or bool((joined.amax(0) - joined.amin(0)).max() == 0):
        return
    what = (
        "probabilities (each row is not negative and has the same sum): return the inputs of the last softmax"
        if sums_are_equal
        else "probabilities (all in [0, 1] whatever the parameters, as of a sigmoid): return its inputs"
    )
    raise subject.problem(
        f"the model's outputs look like {what}, since the task {subject.task.name} takes logits and applies softmax or "
        "sigmoid itself"
    )


def _with_noise(model: nn.Module, x: Rows, spread: float) -> Tensor:
    """Return the outputs after the parameters are moved by normal random numbers of this size."""
    generator = torch.Generator().manual_seed(0)
    model.eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.is_floating_point():
                value.add_((spread * torch.randn(value.shape, generator=generator)).to(value))
        return outputs_of(model, x.clone())
