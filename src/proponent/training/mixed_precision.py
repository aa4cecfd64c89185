"""Training in bfloat16, as ``recipe.precision: bf16`` asks for: autocast in the forward pass, float32 everywhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def train_in_bfloat16(module: nn.Module) -> None:
    """Let a module run its forward pass under autocast to bfloat16 while it is in training mode.

    Parameters, their gradients, outputs, the loss and the optimiser stay in float32, and a pass in eval mode is computed
    in float32 throughout. Casts are not cached: stacked parameters are other tensors in each pass.

    Args:
        module: prepared module, whose outputs are one tensor.
    """
    plain = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not module.training:
            return plain(*args, **kwargs)
        device = next(module.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False):
            return plain(*args, **kwargs)

    module.forward = forward
    module.register_forward_hook(_float32_outputs)


def _float32_outputs(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    low = isinstance(outputs, Tensor) and outputs.dtype == torch.bfloat16
    return outputs.float() if low else outputs
