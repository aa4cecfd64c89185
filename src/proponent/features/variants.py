"""Cheap variants of one trained network, in place of independently trained ones (Deng et al. 2024, arXiv 2405.17293).

*Dropped*: hidden units are dropped by one mask, the same for all examples. *Adapted*: low-rank adapters of the linear
layers (Hu et al. 2021, "LoRA") are trained for a little longer, and are the parameters of the variant.

The adapters are trained here and not by :mod:`proponent.training`, on which features do not depend: the trainer starts
from a model factory and a recipe, while a variant starts from a checkpoint, and its training is a loop of four lines.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.features.gradient_forms import choose_form, gradients_in_form, note_projected
from proponent.features.gradients.block import Block
from proponent.features.gradients.capture import Capture, base_cotangents, target_cotangents
from proponent.features.gradients.tracing import deterministic_eval
from proponent.rows import Rows, named_tensors, outputs_of
from proponent.settings.tasks import Task
from proponent.torch_failures import FAILURES, layer_name


@dataclass(frozen=True, eq=False)
class VariantPair:
    """Gradients with respect to a variant's parameters; see :class:`proponent.methods.shared.needs.TargetPair`."""

    train: Block
    query: Block
    loss_weight: Tensor
    loss_curvature: Tensor

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train), computed on every call."""
        return self.train.inner(self.train)


def copy_module(module: nn.Module) -> nn.Module:
    """Return a copy of a module, in which tensors that it kept from earlier passes are left out.

    Raises:
        UserError: the module has an attribute that cannot be copied.
    """
    kept = {id(value): torch.empty(0) for value in _tensors_in(vars(module), set()) if not _is_own(value)}
    try:
        return copy.deepcopy(module, kept)
    except FAILURES as error:
        raise UserError(
            f"{layer_name(module, '')} cannot be copied: {' '.join(str(error).split())[:200]}; keep files, locks and "
            "generators out of the module's attributes"
        ) from error


def _tensors_in(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Yield all tensors in the attributes of modules and in lists, tuples and dictionaries among them."""
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        inside: Iterable[Any] = ()
        if isinstance(value, nn.Module):
            inside = vars(value).values()
        elif isinstance(value, dict):
            inside = value.values()
        elif isinstance(value, (list, tuple, set)):
            inside = value
        for part in inside:
            yield from _tensors_in(part, seen)


def _is_own(value: Tensor) -> bool:
    """Return whether a tensor is a leaf outside ``torch.func``, as those are that a model is made with."""
    return value.is_leaf and not torch._C._functorch.is_functorch_wrapped_tensor(value)


def gradients_of(
    variant: nn.Module,
    task: Task,
    train: tuple[Rows, Tensor],
    query: tuple[Rows, Tensor],
    pass_mib: int,
    held_mib: float,
) -> VariantPair:
    """Return the gradients of a variant, projected if exact ones do not fit.

    Args:
        variant: network; gradients are those with respect to its trainable parameters.
        task: task that gives base and target.
        train: inputs and labels of the training examples.
        query: inputs and labels of the queries.
        pass_mib: memory for forward and backward passes in MiB, in addition to the result.
        held_mib: memory for the result in MiB.

    Raises:
        UserError: not even a small projection fits.
    """
    capture = Capture(variant, train[0][:1])
    form = choose_form(capture, len(train[1]) + len(query[1]), held_mib)
    note_projected(form.dim, bool(capture.last) and not form.last_dim, "memory_mib")
    block, outputs = gradients_in_form(
        capture, base_cotangents(task), *train, form, seed=0, pass_mib=pass_mib
    )
    asked, _ = gradients_in_form(capture, target_cotangents(task), *query, form, seed=0, pass_mib=pass_mib)
    return VariantPair(
        block, asked, task.loss_weight(outputs, train[1]), task.loss_curvature(outputs, train[1])
    )


def dropped(module: nn.Module, x: Rows, drop: float, seed: int) -> nn.Module:
    """Return a copy of ``module`` without some of its hidden units, the others scaled up by 1 / (1 - drop).

    Units are dropped where the module has ``nn.Dropout``; a module without it loses inputs of its ``nn.Linear`` layers,
    except inputs that are the data itself.

    Args:
        module: module in any mode; it is run in eval mode.
        x: (1, ...) one input.
        drop: share of the units that are dropped, in [0, 1).
        seed: seed of the mask.

    Raises:
        UserError: the module has no hidden units.
    """
    variant = copy_module(module)
    places: list[nn.Module] = [part for part in variant.modules() if isinstance(part, nn.Dropout)]
    places = places or [part for part in variant.modules() if isinstance(part, nn.Linear)]
    widths: dict[nn.Module, tuple[int, torch.dtype]] = {}

    given = {value.data_ptr() for value in named_tensors(x).values()}

    def note(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].data_ptr() not in given:
            widths[part] = (inputs[0].shape[-1], inputs[0].dtype)

    watching = [part.register_forward_pre_hook(note) for part in places]
    with deterministic_eval(variant), torch.no_grad():
        outputs_of(variant, x)
    for hook in watching:
        hook.remove()
    if not widths:
        raise UserError(
            f"{type(module).__name__} has no hidden layer (nn.Dropout, or nn.Linear after the first) to drop units of; "
            "average over members instead"
        )
    generator = torch.Generator().manual_seed(seed)
    for part in places:
        if part in widths:
            width, dtype = widths[part]
            kept = torch.rand(width, generator=generator) >= drop
            part.register_forward_pre_hook(_multiply(kept.to(x.device, dtype) / (1 - drop)))
    return variant


def _multiply(mask: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    return lambda _, inputs: (inputs[0] * mask, *inputs[1:])


class Adapted(nn.Module):
    """A frozen linear layer plus ``up(down(x))`` of low rank, zero at first."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        like = next(linear.parameters())  # the weight may be an attribute that a hook computes in each pass
        self.linear = linear.requires_grad_(False)
        self.down = nn.Linear(linear.in_features, rank, bias=False).to(like)
        self.up = nn.Linear(rank, linear.out_features, bias=False).to(like)
        start = torch.randn(self.down.weight.shape, generator=generator) / linear.in_features**0.5
        with torch.no_grad():
            self.down.weight.copy_(start)
            self.up.weight.zero_()

    @property
    def weight(self) -> Tensor:
        """Weight of the frozen layer, whose type and device models look up."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both outputs."""
        result: Tensor = self.linear(x) + self.up(self.down(x))
        return result


def adapted(
    module: nn.Module,
    task: Task,
    x: Rows,
    y: Tensor,
    *,
    rank: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    batch_size: int = 64,
) -> nn.Module:
    """Return a copy of ``module`` whose parameters are adapters of its linear layers, trained on (x, y) by Adam.

    Args:
        module: module at a checkpoint, whose own parameters are frozen.
        task: task that gives the loss.
        x: (n, ...) training inputs.
        y: (n, ...) training labels.
        rank: rank of each adapter.
        epochs: number of passes over the training examples.
        learning_rate: learning rate of Adam.
        seed: seed of the adapters' initialisation and of the order of the examples.
        batch_size: examples per optimiser step.

    Raises:
        UserError: the module has no ``nn.Linear`` to adapt.
    """
    generator = torch.Generator().manual_seed(seed)
    variant = copy_module(module).requires_grad_(False)
    if isinstance(variant, nn.Linear):
        variant = nn.Sequential(variant)
    linear = [
        (parent, name, child)
        for parent in list(variant.modules())
        for name, child in parent.named_children()
        if type(child) is nn.Linear and not isinstance(parent, nn.MultiheadAttention)
    ]
    if not linear:
        raise UserError(
            f"{type(module).__name__} has no nn.Linear layer to adapt; average over members instead"
        )
    for parent, name, child in linear:
        setattr(parent, name, Adapted(child, rank, generator))
    optimizer = torch.optim.Adam([p for p in variant.parameters() if p.requires_grad], lr=learning_rate)
    with deterministic_eval(variant), torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.randperm(len(x), generator=generator).split(batch_size):
                optimizer.zero_grad()
                task.loss(outputs_of(variant, x[batch]), y[batch]).mean().backward()
                optimizer.step()
    return variant
