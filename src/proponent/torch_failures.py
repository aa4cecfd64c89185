"""Errors of ``torch.func`` as one line: the layer, what it does that cannot be transformed, and a way out.

The layer is the innermost module of the model that was running, found in the traceback of the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from proponent.errors import UserError

FAILURES = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError)
"""Errors that a model's forward or backward pass raises when it cannot be transformed."""

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"Batching rule not implemented for (aten::\w+)|do not yet support (aten::\w+)",
        "torch.func.vmap has no rule for {0}; write this layer with other operations",
    ),
    (
        r"random operation",
        "it draws random numbers other than those of nn.Dropout; draw them in the dataset factory, or leave them out",
    ),
    (
        r"dynamic shape",
        "it selects a number of elements that depends on the data (a boolean index, nonzero or unique); use torch.where "
        "or a mask",
    ),
    (
        r"data-dependent control flow|\.item\(\) on a Tensor|tolist\(\)|boolean value of Tensor",
        "it uses values of tensors in Python (if, .item(), int() or .tolist()); use torch.where",
    ),
    (
        r"inplace arithmetic|mutate a captured Tensor|in-place operation|modified inplace",
        "it writes into a tensor that was not made from its input (a buffer, the data, torch.zeros); make new tensors, "
        "for example by torch.stack or x.new_zeros",
    ),
    (
        r"setup_context|generate_vmap_rule",
        "it uses a torch.autograd.Function (a backward hook is one) without setup_context and a rule for vmap; write it "
        "with operations of torch, or define both",
    ),
    (
        r"more than 1 value per channel",
        "batch normalisation needs more than one value per channel; set recipe.last_batch to merge or drop",
    ),
    (
        r"use_reentrant=True",
        "its checkpointing computes gradients in a way that cannot be transformed; pass use_reentrant=False",
    ),
    (
        r"requires_grad_\(\)",
        "it calls requires_grad_ in its forward pass, as gradient checkpointing of transformers does; leave "
        "gradient_checkpointing_enable() out of the model factory",
    ),
    (
        r"accessing `data`",
        "it uses .data, which cannot be transformed; use .detach()",
    ),
    (
        r"INTERNAL ASSERT FAILED.*functorch|functorch.*INTERNAL ASSERT FAILED|dead wrapper|escaped",
        "it uses a tensor that it kept from an earlier pass; let each pass depend on its input and the parameters only",
    ),
    (
        r"does not require grad",
        "its outputs do not depend on a trainable parameter (detach, no_grad, argmax or rounding); leave this out",
    ),
    (
        r"saved tensor hooks",
        "it stores activations through hooks (checkpointing, offloading); leave this out",
    ),
    (
        r"forward AD with (\w+)|forward[- ]mode AD.*?for (\w+)",
        "{0} has no derivative in forward mode, which Hessian and Gauss-Newton products need; use another layer, or leave "
        "out the methods that need them",
    ),
    (r"Jitted|ScriptModule|torch\.jit", "it is compiled by torch.jit; return the Python module"),
    (
        r"numpy|data_ptr|doesn't have storage|access data pointer",
        "it leaves torch (numpy, lists); use operations of torch",
    ),
    (r"uninitialized parameter|LazyModule", "its parameters have no shape yet; give the layer its sizes"),
    (
        r"deepcopy",
        "it keeps a tensor or an object that cannot be copied; keep it out of the module's attributes",
    ),
)


class Unsupported(RuntimeError):
    """Something in a layer that no engine can follow; the message is a predicate of the layer."""


@contextmanager
def explained(module: nn.Module, what: str) -> Iterator[None]:
    """Turn errors of a model's passes within the block into one line for the user; lack of memory stays as it is.

    Args:
        module: the whole model.
        what: predicate of the message, such as "cannot be trained in lockstep".

    Raises:
        UserError: the model failed.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Unsupported as error:
        raise UserError(f"{_running_layer(error, module)} {error}") from error
    except Exception as error:
        if "memory" in str(error) or not (isinstance(error, FAILURES) or _running(error, module)):
            raise
        raise unsupported(error, module, what) from error


def unsupported(error: BaseException, module: nn.Module, what: str) -> UserError:
    """Return the error that a user is shown instead of ``error``; arguments as in :func:`explained`."""
    return UserError(f"{_running_layer(error, module)} {what}: {_cause(str(error))}")


def _cause(message: str) -> str:
    """Return the cause and the way out; for an unknown cause the beginning of torch's own message."""
    text = " ".join(message.split())
    for pattern, cause in _CAUSES:
        found = re.search(pattern, text)
        if found:
            return cause.format(next((group for group in found.groups() if group), ""))
    first = re.split(r"(?<=[a-z)])\. ", text)[0]
    return f"{first[:200].rstrip('.')}; use other operations in this layer"


def _running_layer(error: BaseException, module: nn.Module) -> str:
    """Return the innermost module that was running, as the subject of a message."""
    return layer_name(*(_running(error, module) or (module, "")))


def _running(error: BaseException, module: nn.Module) -> tuple[nn.Module, str] | None:
    """Return the innermost part of a module that was running, with its name; None if the error is not from there."""
    names = {id(part): name for name, part in module.named_modules()}
    innermost = None
    trace = error.__traceback__
    while trace is not None:
        part = trace.tb_frame.f_locals.get("self")
        if id(part) in names and isinstance(part, nn.Module):
            innermost = part, names[id(part)]
        trace = trace.tb_next
    return innermost


def layer_name(layer: nn.Module, name: str) -> str:
    """Return a module as the subject of a message; the model itself has an empty name."""
    kind = type(layer).__name__
    return f"the model's layer '{name}' ({kind})" if name else f"the model ({kind})"
