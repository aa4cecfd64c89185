"""Many models of one architecture as one: the tensors in which they differ, stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from proponent.errors import UserError


@dataclass
class Stack:
    """Models of one architecture.

    Attributes:
        template: one of the models; brings the architecture, and the tensors that all of them share.
        trained: parameters to train, (models, …) each. Parameters that layers share appear once.
        fixed: frozen parameters and buffers in which the models differ, (models, …) each.
    """

    template: nn.Module
    trained: dict[str, Tensor]
    fixed: dict[str, Tensor]

    @property
    def state(self) -> dict[str, Tensor]:
        """All tensors in which the models differ, (models, …) each."""
        return self.trained | self.fixed


def stack_models(build: Callable[[int], nn.Module], seeds: Sequence[int], device: str) -> Stack:
    """Build one model a seed and stack them.

    Raises:
        UserError: a layer mixes the examples of a batch, nothing is to be trained, or shapes vary with the
            seed.
    """
    template = build(seeds[0])
    refuse_batch_statistics(template)
    tensors = _tensors(template)
    trained = [name for name, value in template.named_parameters() if value.requires_grad]
    if not trained:
        raise UserError("the model has no parameter to train; the model factory must return one that has")
    stacked = {name: value.detach().new_empty((len(seeds), *value.shape)) for name, value in tensors.items()}
    differs = dict.fromkeys(tensors, False) | dict.fromkeys(trained, True)
    for row, seed in enumerate(seeds):
        model = _tensors(build(seed) if row else template)
        if {name: value.shape for name, value in model.items()} != {
            name: v.shape for name, v in tensors.items()
        }:
            raise UserError(
                "the model factory gives another architecture for another seed; its shapes must be fixed"
            )
        for name, value in model.items():
            stacked[name][row] = value.detach()
            differs[name] = differs[name] or not torch.equal(value, tensors[name])
    kept = set(template.state_dict())
    for name, varies in differs.items():
        if varies and name not in kept:
            raise UserError(
                f"the model's buffer '{name}' depends on the seed but is not saved; "
                "register it with persistent=True"
            )
    template.to(device)
    return Stack(
        template,
        {name: stacked[name].to(device) for name in trained},
        {
            name: stacked[name].to(device)
            for name, varies in differs.items()
            if varies and name not in trained
        },
    )


def call(template: nn.Module, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the outputs of the model with ``tensors`` in place of the template's; tied ones stay tied."""
    outputs: Tensor = functional_call(template, dict(tensors), (x,))
    return outputs


def state_dict(template: nn.Module, state: Mapping[str, Tensor], model: int) -> dict[str, Tensor]:
    """Return the plain ``state_dict`` of one of the stacked models, on the CPU, with memory of its own."""
    tensors = dict(_tensors(template)) | {name: value[model] for name, value in state.items()}
    names = {id(value): name for name, value in _tensors(template).items()}
    return {
        key: tensors[names[id(value)]].detach().to("cpu", copy=True).contiguous()
        for key, value in template.state_dict(keep_vars=True).items()
    }


def refuse_batch_statistics(model: nn.Module) -> None:
    """Raise a UserError if a layer's output for one example depends on the others of its batch.

    Such a model has no per-example gradients: what an example did is not separate from what its batch did.
    """
    for name, module in model.named_modules():
        batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if batch or (
            isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats
        ):
            raise UserError(
                f"the model's layer '{name}' ({type(module).__name__}) keeps batch statistics, which mix "
                "examples; use GroupNorm or LayerNorm"
            )


def versions(stack: Stack) -> dict[str, tuple[int, int]]:
    """Return, for every parameter and buffer, what changes when a model assigns to it or changes it in place."""
    tensors = _tensors(stack.template) | stack.state
    return {name: (id(value), value._version) for name, value in tensors.items()}


@contextmanager
def stackable() -> Iterator[None]:
    """Within the block, layers that ``vmap`` would get wrong, or cannot stack, are computed in a way that it can.

    Attention is made of matrix products: its fused kernels run one model at a time, or not at all. An embedding
    looks up its padding without a gradient: stacked by ``vmap``, only the first model's padding would have none.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    lookup = F.embedding

    def embedding(
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor:
        rows = lookup(input, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
        if padding_idx is None:
            return rows
        return torch.where((input == padding_idx % len(weight)).unsqueeze(-1), rows.detach(), rows)

    torch.backends.mha.set_fastpath_enabled(False)
    F.embedding = embedding
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        F.embedding = lookup
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
