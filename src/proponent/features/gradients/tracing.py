"""Tracing of a forward pass: find the uses of a model's weights, and find them again in later passes.

A ``TorchFunctionMode`` sees each call at the level of functions. :class:`Trace` watches the pass of one example;
:class:`ProbedPass` recognises the same calls again, by their order, when the pass runs under ``torch.func``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from proponent.errors import UserError
from proponent.features.gradients.operations import CLAIMS, REFUSALS, Call, Use, bind
from proponent.torch_compat import Rewritten, composites_opened, transformable


class _Watch(TorchFunctionMode):
    """Sees every call of an operation in :data:`CLAIMS`, and refuses those in :data:`REFUSALS`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function; :meth:`operation` handles those that may have a claimed weight."""
        kwargs = kwargs or {}
        if func in REFUSALS:
            REFUSALS[func](*args, **kwargs)
        if func not in CLAIMS:
            return func(*args, **kwargs)
        self.calls += 1
        call = bind(func, args, kwargs)
        return func(*args, **kwargs) if call is None else self.operation(call, lambda: func(*args, **kwargs))

    def operation(self, call: Call, run: Callable[[], Tensor]) -> Tensor:
        """Return the result of a call; ``run()`` makes the call unchanged."""
        raise NotImplementedError


class Trace(_Watch):
    """Finds the uses of parameters in the pass of one example, and detaches the parameters there.

    A parameter that still has a derivative afterwards is also used in some other way.

    Args:
        names: names of the parameters by the id of the tensors that stand for them.

    Attributes:
        uses: uses of parameters, in the order of the calls.
        inputs: input tensor of each use.
        last_linear: index of the last linear map among all calls, whether its weight is a parameter or
            computed.
        activations: number of elements of all tensors that the pass made, a measure of what the backward
            pass keeps.
    """

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.last_linear: int | None = None
        self.uses: list[Use] = []
        self.inputs: list[Tensor] = []
        self.activations = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function and count the elements that it made; views make none."""
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tensor) and result._base is None:
            self.activations += result.numel()
        if func is F.scaled_dot_product_attention:
            query, key = args[:2]
            self.activations += (
                3 * query.numel() // query.shape[-1] * key.shape[-2]
            )  # scores, softmax, product
        return result

    def operation(self, call: Call, run: Callable[[], Tensor]) -> Tensor:
        """Record a call whose weight is a parameter, and run it with that parameter as a constant."""
        found = self._locate(call.weight) if call.claimable and not _is_hidden(call.input) else None
        if call.kind == "linear" or (call.kind == "matmul" and found is not None):
            self.last_linear = self.calls - 1
        if found is None:
            return run()
        name, start, transposed = found
        kind = {"linear": "matmul", "matmul": "linear"}.get(call.kind, call.kind) if transposed else call.kind
        bias = self._locate(call.bias)
        constant = call.bias.detach() if call.bias is not None and bias is not None else call.bias
        output = call.rerun(call.weight.detach(), constant)
        self.uses.append(
            Use(
                call=self.calls - 1,
                kind=kind,
                weight=name,
                start=start,
                bias=bias[0] if bias is not None else None,
                bias_start=bias[1] if bias is not None else 0,
                geometry=call.geometry,
                padding=call.padding,
                output=tuple(output.shape),
                input=tuple(call.input.shape),
            )
        )
        self.inputs.append(call.input)
        return output

    def _locate(self, tensor: Tensor | None) -> tuple[str, int, bool] | None:
        """Return (name, first row, whether transposed) of a parameter or of a view of one; None for other tensors."""
        if tensor is None or tensor.numel() == 0:
            return None
        if id(tensor) in self.names:
            return self.names[id(tensor)], 0, False
        base = tensor._base
        if base is None or id(base) not in self.names or base.ndim == 0:
            return None
        offset = tensor.storage_offset() - base.storage_offset()
        if offset % base.stride(0):
            return None
        start = offset // base.stride(0)
        alike = tensor.shape[1:] == base.shape[1:] and tensor.stride() == base.stride()
        if alike or _is_flattened(tensor, base):
            return self.names[id(base)], start, False
        alike = base.ndim == 2 and len(tensor) == base.shape[1] and tensor.stride() == base.stride()[::-1]
        if tensor.ndim == 2 and (alike or _is_flattened(tensor.T, base)):
            return self.names[id(base)], start, True
        return None


def _is_flattened(tensor: Tensor, base: Tensor) -> bool:
    """Return whether a view consists of rows of a weight, each flattened: filters as a matrix, for example."""
    rows = tensor.ndim == 2 and tensor.shape[1] == base.shape[1:].numel()
    return rows and tensor.is_contiguous() and base.is_contiguous()


def _is_hidden(input: Tensor) -> bool:
    """Return whether an input is empty, or inside a transformation of the model's own, where shapes are not those of x."""
    return input.numel() == 0 or torch._C._functorch.is_functorch_wrapped_tensor(input)


class ProbedPass(_Watch):
    """Adds a probe to the output of each traced use, and keeps the input of the use.

    Args:
        uses: uses found by the trace; a use is recognised by its index among the calls.
        probes: zeros of the uses' output shapes; the derivative with respect to a probe is that with
            respect to the output.
        watched: index of one more call, whose input is kept as ``seen``; None for no such call.
    """

    def __init__(self, uses: list[Use], probes: list[Tensor], watched: int | None = None) -> None:
        super().__init__()
        self.watched = watched
        self.seen: Tensor | None = None
        self.places = {use.call: index for index, use in enumerate(uses)}
        self.uses = uses
        self.probes = probes
        self.inputs: list[Tensor] = []

    def operation(self, call: Call, run: Callable[[], Tensor]) -> Tensor:
        """Run the call, with its probe if it is one of the traced uses."""
        if self.calls - 1 == self.watched:
            self.seen = call.input
        index = self.places.get(self.calls - 1)
        output = run()
        if index is None:
            return output
        if output.shape != self.uses[index].output:
            raise UserError(
                "the model calls its layers in another order each time; make its forward pass deterministic in eval mode"
            )
        self.inputs.append(call.input)
        return output + self.probes[index]


class _ConstantPadding(Rewritten):
    """Keeps the padding row of an embedding constant in forward derivatives, as torch does in backward ones."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function."""
        if func is not torch.embedding:
            return super().__torch_function__(func, types, args, kwargs)
        call = CLAIMS[func](*args, **(kwargs or {}))
        output = F.embedding(call.input, call.weight)
        if call.padding < 0:
            return output
        return torch.where((call.input == call.padding)[..., None], output.detach(), output)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module and its parts into eval mode within the block, without calls of their own ``train`` methods."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def deterministic_eval(module: nn.Module) -> Iterator[None]:
    """Run a module in eval mode within the block, with its functions transformable and open to a mode."""
    with eval_mode(module), composites_opened(), transformable(), _ConstantPadding():
        yield
