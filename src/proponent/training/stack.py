"""A stack of models of one architecture: the tensors in which they differ, each with a leading axis of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from proponent.batch_statistics import batch_statistics_error
from proponent.errors import UserError
from proponent.rows import Rows, outputs_and_tensors, outputs_of
from proponent.settings.model_preparation import prepare_model
from proponent.torch_failures import layer_name

CHANGES_STATE = "changes its own '{}', which the engines cannot follow; leave it constant"
"""Predicate of a message."""


@dataclass
class Stack:
    """Models of one architecture.

    Attributes:
        template: one of the models, with the architecture and the tensors that all models share.
        trained: trainable parameters, (models, …) each; a parameter that several layers share appears once.
        fixed: frozen parameters and buffers in which the models differ, (models, …) each.
        moving: buffers that forward passes in training update, such as running statistics, (models, …) each; none
            before :func:`separate_moving`.
        counters: names of those moving buffers that are the same in all models which have made as many steps.
    """

    template: nn.Module
    trained: dict[str, Tensor]
    fixed: dict[str, Tensor]
    moving: dict[str, Tensor] = field(default_factory=dict)
    counters: frozenset[str] = frozenset()

    @property
    def state(self) -> dict[str, Tensor]:
        """All tensors in which the models differ, (models, …) each."""
        return self.trained | self.fixed | self.moving

    def part(self, rows: slice) -> Stack:
        """Return some of the models, with views of their tensors."""

        def some(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value[rows] for name, value in tensors.items()}

        return replace(self, trained=some(self.trained), fixed=some(self.fixed), moving=some(self.moving))


def stack_models(build: Callable[[int], nn.Module], seeds: Sequence[int], device: str) -> Stack:
    """Build one model per seed and stack them.

    Args:
        build: model factory, from a seed to a new model.
        seeds: one seed per model.
        device: device of the stacked tensors.

    Raises:
        UserError: no parameter is trainable, or shapes vary with the seed.
    """
    template = prepare_model(build(seeds[0]))
    tensors = _tensors(template)
    trained = [name for name, value in template.named_parameters() if value.requires_grad]
    if not trained:
        raise UserError(
            "the model has no trainable parameter; the model factory must return a model that has one"
        )
    stacked = {name: value.detach().new_empty((len(seeds), *value.shape)) for name, value in tensors.items()}
    differs = dict.fromkeys(tensors, False) | dict.fromkeys(trained, True)
    for row, seed in enumerate(seeds):
        model = _tensors(prepare_model(build(seed)) if row else template)
        if {name: value.shape for name, value in model.items()} != {
            name: v.shape for name, v in tensors.items()
        }:
            raise UserError(
                "the model factory returns another architecture for another seed; its shapes must be fixed"
            )
        other = next((name for name in model if model[name].requires_grad != (name in trained)), None)
        if other is not None:
            raise UserError(
                f"the model factory trains other parameters for another seed ('{other}'); choose those with requires_grad "
                "without random numbers"
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


def separate_moving(stack: Stack, x: Rows) -> None:
    """Find the buffers that a forward pass in training mode updates, and give every model its own.

    Args:
        stack: models, whose template is in training mode.
        x: (n, …) inputs of a batch.

    Raises:
        UserError: a pass changes a parameter, or a buffer that is not saved.
    """
    tensors = {**_tensors(stack.template), **{name: value[0] for name, value in stack.state.items()}}
    before = {name: value.detach().clone() for name, value in tensors.items()}
    with torch.no_grad():
        _, after = call_in_training(stack.template, {}, before, x.clone())
    buffers = dict(stack.template.named_buffers())
    saved = stack.template.state_dict().keys()
    models = len(next(iter(stack.trained.values())))
    counters = set()
    for name, value in after.items():
        if same(value, before[name]):
            continue
        if name not in buffers:
            raise UserError(f"the model's forward pass {CHANGES_STATE.format(name)}")
        if name not in saved:
            raise UserError(
                f"the model's forward pass changes its buffer '{name}', which is not saved; register it with "
                "persistent=True, or leave it constant"
            )
        shared = name not in stack.fixed
        own = stack.fixed.pop(name, None)
        stack.moving[name] = own if own is not None else buffers[name].expand(models, *value.shape).clone()
        if shared and not value.is_floating_point():
            counters.add(name)
    stack.counters = frozenset(counters)


def call_in_training(
    template: nn.Module, tensors: Mapping[str, Tensor], moving: Mapping[str, Tensor], x: Rows
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs of a pass, and the moving buffers after it; the given tensors stay as they are.

    Args:
        template: module with the architecture, in training mode.
        tensors: tensors that replace those of the template.
        moving: further ones, which the pass may update.
        x: (n, …) inputs.
    """
    copies = {name: value.clone() for name, value in moving.items()}
    outputs, after = outputs_and_tensors(template, x, {**tensors, **copies})
    return outputs, {name: after[name].detach() for name in moving}


def call(template: nn.Module, tensors: Mapping[str, Tensor], x: Rows) -> Tensor:
    """Return the outputs of the template with its tensors replaced by ``tensors``; tied tensors stay tied."""
    return outputs_of(template, x, tensors)


def state_dict(
    template: nn.Module, state: Mapping[str, Tensor], model: int, *, whole: bool = True
) -> dict[str, Tensor]:
    """Return the plain ``state_dict`` of one of the stacked models, on the CPU, with memory of its own.

    Args:
        template: module with the architecture and the tensors that all models share.
        state: tensors in which the models differ, (models, …) each.
        model: index of the model.
        whole: whether to include the tensors that all models share, such as frozen pretrained weights.
    """
    tensors = dict(_tensors(template)) | {name: value[model] for name, value in state.items()}
    names = {id(value): name for name, value in _tensors(template).items()}
    return {
        key: tensors[names[id(value)]].detach().to("cpu", copy=True).contiguous()
        for key, value in template.state_dict(keep_vars=True).items()
        if whole or names[id(value)] in state
    }


def refuse_batch_statistics(model: nn.Module, *, training: bool) -> None:
    """Raise a UserError if a layer's output for one example depends on the others of its batch.

    Args:
        model: model, whose mode is restored.
        training: mode in which it is asked. Layers that a model keeps in eval mode while it trains use their running
            statistics, which do not change.
    """
    was_training = model.training
    model.train(training)
    try:
        for name, module in model.named_modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                continue
            if module.training or module.running_mean is None:
                remedy = (
                    "a replay of the training needs losses that are sums over examples: use GroupNorm or LayerNorm, or "
                    "leave out the methods that replay"
                )
                raise batch_statistics_error(
                    layer_name(module, name), remedy if training else "set track_running_stats=True"
                )
    finally:
        model.train(was_training)


def refuse_hidden_state(stack: Stack, last: nn.Module, x: Rows) -> None:
    """Refuse models that differ in more than the tensors that are stacked.

    Args:
        stack: models.
        last: another model of the factory, which is given the tensors of the last model of the stack.
        x: (n, ...) inputs.

    Raises:
        UserError: the last model of the stack has other outputs than ``last``.
    """
    own = {name: value[-1] for name, value in stack.state.items()}
    with torch.no_grad():
        last = prepare_model(last)
        for name, value in _tensors(last).items():
            if name in own:
                value.copy_(own[name])
        moving = {name: own.pop(name) for name in stack.moving}
        stacked, _ = call_in_training(stack.template, own, moving, x.clone())
        ordinary = outputs_of(last.train(), x.clone())
        if torch.allclose(
            stacked, ordinary, rtol=1e-3, atol=1e-3 * float(ordinary.abs().max()), equal_nan=True
        ):
            return
        again, _ = call_in_training(stack.template, own, moving, x.clone())
    if torch.equal(again, stacked):  # models that are random have another refusal
        raise UserError(
            "the models of two seeds differ in more than their parameters and buffers: a tensor or number that depends on "
            "the seed is kept elsewhere (a plain attribute, a list, a closure); register it with register_buffer and use "
            "that attribute"
        )


def versions(stack: Stack) -> dict[str, tuple[int, int]]:
    """Return identity and version of every parameter and buffer: assignment changes one, a change in place the other."""
    tensors = _tensors(stack.template) | stack.state
    return {name: (id(value), value._version) for name, value in tensors.items()}


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal, NaN included."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
