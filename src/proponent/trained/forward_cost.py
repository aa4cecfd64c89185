"""Operations of a forward pass, from which the cost of an explanation is known before it is made."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from proponent.rows import Rows, outputs_of


def forward_operations(module: nn.Module, x: Rows) -> int:
    """Return the floating point operations of the matrix products, convolutions and attention of one forward pass.

    Args:
        module: model.
        x: (n, ...) inputs.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs_of(module, x)
    return int(counter.get_total_flops())
