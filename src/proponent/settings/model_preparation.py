"""Preparation of a user's model for the engines: wrappers taken off, outputs as one tensor, or a refusal by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from proponent.errors import UserError
from proponent.torch_failures import layer_name

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def prepare_model(model: nn.Module) -> nn.Module:
    """Return the model that the engines work on, with the same parameters; a model that is prepared stays as it is.

    ``nn.DataParallel`` and ``torch.compile`` are taken off, since ``torch.func`` cannot transform them and the engines
    parallelise themselves. Outputs that hold their logits under that name (a dictionary, a dataclass, a model output of
    transformers) are replaced by the logits, in a forward hook, so that names of parameters do not change.

    Raises:
        UserError: a layer or a parameter cannot be trained or differentiated; the message names it.
    """
    model = _unwrapped(model)
    for part in model.modules():
        part._compiled_call_impl = None
        for name, child in part._modules.items():
            part._modules[name] = child if isinstance(child, nn.DataParallel) else _unwrapped(child)
        if isinstance(part, nn.DataParallel):  # its parent may refer to child.module
            part.device_ids = []
    _refuse_layers(model)
    _refuse_parameters(model)
    if _logits not in model._forward_hooks.values():
        model.register_forward_hook(_logits)
    return model


def _unwrapped(model: Any) -> Any:
    """Return the module inside wrappers for several devices and of ``torch.compile``."""
    while isinstance(model, _WRAPPERS) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, _WRAPPERS) else model._orig_mod
    return model


def _logits(model: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Return the logits of outputs that name them, and other outputs unchanged."""
    if isinstance(outputs, Tensor):
        return outputs
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    return found if isinstance(found, Tensor) else outputs


def _refuse_layers(model: nn.Module) -> None:
    for name, part in model.named_modules():
        problem = _layer_problem(part)
        if problem:
            raise UserError(f"{layer_name(part, name)} {problem}")


def _layer_problem(part: nn.Module) -> str | None:
    if isinstance(part, torch.jit.ScriptModule):
        return "is compiled by torch.jit; return the Python module from the model factory"
    if any(is_lazy(value) for value in part.parameters(recurse=False)):
        return (
            "has no shape before its first pass; give it its number of inputs, for example nn.Linear(6, 16)"
        )
    if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
        if part.max_norm is not None:
            return "changes its weight in the forward pass (max_norm); leave max_norm out"
        if part.scale_grad_by_freq:
            return "scales gradients by how often the batch has a token (scale_grad_by_freq); leave this out"
    if part._backward_hooks or part._backward_pre_hooks:
        return "has a backward hook, which cannot be transformed; return the model without it"
    return None


def _refuse_parameters(model: nn.Module) -> None:
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_meta:
            raise UserError(f"the model's '{name}' has no values (device meta); build the model on the CPU")
    for name, value in trained.items():
        if value.layout != torch.strided:
            raise UserError(
                f"the model's parameter '{name}' is stored as a sparse tensor ({value.layout}); store a dense one, with a "
                "mask as a buffer for what has to stay 0"
            )
        if value.is_complex():
            raise UserError(
                f"the model's parameter '{name}' is complex; train real and imaginary parts as two parameters"
            )
        if value._backward_hooks or value._post_accumulate_grad_hooks:
            raise UserError(
                f"the model's parameter '{name}' has a gradient hook, which the trainer would not run; return the model "
                "without it"
            )
    for name, value in trained.items():
        if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True)):
            raise UserError(
                f"the model's parameter '{name}' is an expanded tensor, whose elements share memory; make it of a clone"
            )
    tensors = {id(value) for value in (*model.parameters(), *model.buffers())}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in tensors:
            raise UserError(
                f"the model's state dict holds '{name}', which is neither a parameter nor a buffer (extra state, quantised "
                "weights); return the model without it"
            )
    dtypes = {value.dtype: name for name, value in trained.items()}
    if len(dtypes) > 1:
        kinds = " and ".join(f"'{name}' is {dtype}" for dtype, name in dtypes.items())
        raise UserError(f"the model's parameters have several types: {kinds}; convert them to one")
    for first, second in _overlapping(model):
        raise UserError(
            f"the model's '{second}' shares memory with '{first}' but is another parameter, so that they would be "
            "trained apart; assign the parameter itself to tie them"
        )


def _overlapping(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield pairs of names of different tensors of which one is trained and whose memory overlaps."""
    spans = sorted(
        (value.data_ptr(), value.data_ptr() + _extent(value), name, value.requires_grad)
        for name, value in [*model.named_parameters(), *model.named_buffers()]
        if value.layout == torch.strided and value.numel()
    )
    for (_, stop, first, trained), (start, _, second, also) in pairwise(spans):
        if start < stop and (trained or also):
            yield first, second


def _extent(value: Tensor) -> int:
    """Return the bytes from the first to the last element."""
    last = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    return (last + 1) * value.element_size()
