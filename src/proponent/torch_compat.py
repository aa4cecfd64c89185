"""Replacements of functions of torch, each for the time of a ``with`` block.

``torch.func`` and ``TorchFunctionMode`` cannot follow some functions of :mod:`torch.nn.functional`. Modules look these
functions up each time that they run, so that replacing the attribute reaches ``nn.MultiheadAttention`` and transformer
layers too. Each block restores what it found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from proponent import torch_rewrites
from proponent.torch_failures import Unsupported
from proponent.transformers_compat import unread_masks

MaskSource = Callable[[tuple[int, ...], float, Tensor], Tensor]
"""Function from shape, probability of dropping and the tensor to be masked, to the mask to multiply with."""


@contextmanager
def replaced(functions: Mapping[str, Any], owner: Any = F) -> Iterator[None]:
    """Replace attributes of a module or class within the block.

    Args:
        functions: replacements by the name of the attribute.
        owner: module or class whose attributes are replaced.
    """
    originals = {name: getattr(owner, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(owner, name, function)
        yield
    finally:
        for name, function in originals.items():
            setattr(owner, name, function)


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Compute attention from matrix products within the block.

    Fused kernels run one model at a time under ``vmap``, or not at all, and hide their linear maps from a mode.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


_FUNCTIONAL = ("bilinear", "embedding_bag", "normalize", "rrelu")
"""Functions of ``torch.nn.functional`` that :mod:`proponent.torch_rewrites` writes with others."""


@contextmanager
def transformable() -> Iterator[None]:
    """Compute layers without a rule for ``torch.func`` from operations that have one, within the block.

    This concerns attention, recurrent layers and bags of embeddings (:mod:`proponent.torch_rewrites`). Checkpointed
    parts run as if they were not, which costs their memory: the hooks that recompute them cannot be transformed.
    """
    with (
        unfused_attention(),
        unread_masks(),
        replaced({name: getattr(torch_rewrites, name) for name in _FUNCTIONAL}),
        replaced({"_VF": SimpleNamespace(**torch_rewrites.RECURRENT)}, torch.nn.modules.rnn),
        replaced({"flatten_parameters": lambda layer: None}, torch.nn.RNNBase),
        unchecked(),
    ):
        yield


@contextmanager
def layered() -> Iterator[None]:
    """Compute layers as torch does within the block, except for what would hide from :func:`dropout_from`.

    Recurrent layers with dropout run layer by layer, each by torch's own kernel, and checkpointed parts run as if they were
    not: they are computed again when the tensors of the model are no longer replaced.
    """
    own = SimpleNamespace(**torch_rewrites.LAYERED)
    with replaced({"_VF": own}, torch.nn.modules.rnn), unchecked():
        yield


@contextmanager
def unchecked() -> Iterator[None]:
    """Run checkpointed parts of models as if they were not, within the block."""

    class Reentrant:
        @staticmethod
        def apply(*args: Any) -> None:
            raise Unsupported(
                "uses checkpointing with use_reentrant=True, which cannot be transformed; pass use_reentrant=False"
            )

    def pause(*args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    functions = {"CheckpointFunction": Reentrant, "_checkpoint_without_reentrant_generator": pause}
    with replaced(functions, torch.utils.checkpoint):
        yield


class Rewritten(TorchFunctionMode):
    """Computes operations that lack a correct derivative in one of the directions from others, within the block."""

    functions: Mapping[Any, Callable[..., Any]] = {
        torch.prelu: torch_rewrites.prelu,
        Tensor.prelu: torch_rewrites.prelu,
        torch._weight_norm: torch_rewrites.weight_norm,
        F.one_hot: torch_rewrites.one_hot,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function, or its replacement."""
        return self.functions.get(func, func)(*args, **(kwargs or {}))


class Attached(TorchFunctionMode):
    """Makes ``Tensor.detach`` return the tensor itself within the block."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function, unless it detaches."""
        if func in (Tensor.detach, torch.detach, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def composites_opened() -> Iterator[None]:
    """Show a ``TorchFunctionMode`` what happens inside composite functions, within the block.

    ``torch.nn.functional`` passes composite functions (such as attention) to a mode as a whole if their checks for
    overrides say so; with the checks switched off the mode sees the linear maps inside. The size check of batch
    normalisation is switched off as well: its message says less than that of :mod:`proponent.batch_statistics`.
    """
    checks = (
        "has_torch_function",
        "has_torch_function_unary",
        "has_torch_function_variadic",
        "_verify_batch_size",
    )
    with replaced({name: lambda *args: False for name in checks}):
        yield


@contextmanager
def stackable(padding: Callable[[Tensor], Tensor] = Tensor.detach) -> Iterator[None]:
    """Compute layers that ``vmap`` gets wrong or cannot stack in a way that it can stack, within the block.

    This concerns the layers of :func:`transformable`, and embeddings. A lookup gives its padding no gradient, but
    stacked by ``vmap`` only the first model's padding would have none. Gradients that are stored as sparse tensors
    have no batched form; those of a plain tensor have the same values.

    Args:
        padding: function that is applied to the looked-up rows of padding, and decides which derivatives they have.
    """
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
        rows = lookup(input, weight, None, max_norm, norm_type, scale_grad_by_freq)
        if padding_idx is None:
            return rows
        return torch.where((input == padding_idx % len(weight)).unsqueeze(-1), padding(rows), rows)

    with replaced({"embedding": embedding}), transformable():
        yield


@contextmanager
def dropout_from(source: MaskSource) -> Iterator[None]:
    """Let torch's dropout functions take their masks from ``source`` within the block."""

    def drop(value: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
        if not training or p == 0:
            return value
        mask = source(shape, p, value)
        return value.mul_(mask) if inplace else value * mask

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return drop(input, tuple(input.shape), p, training, inplace)

    def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return drop(input, _channels(input, batched=input.ndim > 2), p, training, inplace)

    def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return drop(input, _channels(input, batched=True), p, training, inplace)

    def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return drop(input, _channels(input, batched=input.ndim > 4), p, training, inplace)

    def alpha_drop(value: Tensor, shape: tuple[int, ...], p: float, training: bool) -> Tensor:
        if not training or p == 0:
            return value
        mask = source(shape, p, value)
        return value * mask if p == 1 else _to_saturation(value, mask.sign(), p)

    def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
        return alpha_drop(input, tuple(input.shape), p, training)

    def feature_alpha_dropout(
        input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
    ) -> Tensor:
        return alpha_drop(input, _channels(input, batched=True), p, training)

    functions: dict[str, Callable[..., Tensor]] = {
        "dropout": dropout,
        "dropout1d": dropout1d,
        "dropout2d": dropout2d,
        "dropout3d": dropout3d,
        "alpha_dropout": alpha_dropout,
        "feature_alpha_dropout": feature_alpha_dropout,
        "scaled_dot_product_attention": _attention_from(source),
    }
    with replaced(functions):
        yield


def _attention_from(source: MaskSource) -> Callable[..., Tensor]:
    """Return ``scaled_dot_product_attention`` with its dropout masks taken from ``source``."""
    plain = F.scaled_dot_product_attention

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p == 0:
            options: dict[str, Any] = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
            return plain(query, key, value, attn_mask, 0.0, **options)
        weights = _attention_weights(query, key, attn_mask, is_causal, scale, enable_gqa)
        if enable_gqa:
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        return (weights * source(tuple(weights.shape), dropout_p, weights)) @ value

    return attention


def _to_saturation(value: Tensor, kept: Tensor, p: float) -> Tensor:
    """Return the result of alpha dropout: what is dropped takes the negative limit of SELU; mean and variance are kept.

    Args:
        value: input.
        kept: 1 for elements that are kept, 0 for others.
        p: probability of dropping.
    """
    limit = 1.7580993408473766  # scale times alpha of SELU, as in torch
    scale = ((limit**2 * p + 1) * (1 - p)) ** -0.5
    return scale * (value * kept + limit * (kept - 1 + p))


def _channels(value: Tensor, batched: bool) -> tuple[int, ...]:
    """Return the shape of a mask that drops whole channels."""
    leading = 2 if batched else 1
    return tuple(value.shape[:leading]) + (1,) * (value.ndim - leading)


def _attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    """Return softmax(query key^T scale + mask), (…, L, S), as ``scaled_dot_product_attention`` documents.

    A position that may attend to nothing (padding to the left of a causal model) has weights 0, as in torch's kernels.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.mT * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is None:
        return logits.softmax(-1)
    if attn_mask.dtype != torch.bool:
        return (logits + attn_mask).softmax(-1)
    lowest = torch.finfo(logits.dtype).min  # as good as minus infinity, whose softmax over a whole row is NaN
    return logits.masked_fill(~attn_mask, lowest).softmax(-1) * attn_mask.any(-1, keepdim=True)
