"""State of a model outside its state dict: it would not be the one that was trained when methods look at the model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from proponent.rows import join_rows
from proponent.self_check.differing_attribute import first_difference
from proponent.self_check.subject import Subject, close, forward
from proponent.training.dropout import Draw
from proponent.training.stack import stack_models

_FIRST, _SECOND = 11, 12
"""Seeds of the two models."""
_ROWS = 8
_TOLERANCE = 1e-4
"""Largest difference relative to the largest element: another number of threads rounds differently."""


@dataclass(frozen=True)
class Behaviour:
    """A model with the state of the first seed.

    Attributes:
        state: the state dict.
        outputs: outputs in eval mode, and in training mode if the model is trained here.
        draws: dropout masks that training asks for.
    """

    state: dict[str, Tensor]
    outputs: tuple[Tensor, ...]
    draws: list[Draw]


def behaviour_elsewhere(subject: Subject) -> Behaviour:
    """Return the behaviour of a model that a process builds with the second seed first: to be called in another process."""
    model = subject.build(_SECOND)
    state = _state(subject.build(_FIRST))
    model.load_state_dict(state)
    return _behaviour(subject, model)


def refuse_hidden_state(subject: Subject, elsewhere: Behaviour | None) -> None:
    """Refuse a model whose outputs do not follow from its state dict.

    Two models are built with different seeds, one state dict is loaded into both, and outputs and dropout are compared.

    Args:
        subject: setting whose model is deterministic.
        elsewhere: result of :func:`behaviour_elsewhere` in another process; None if there is none.

    Raises:
        UserError: the models differ, or the factory's result does not depend on its seed alone.
    """
    stack_models(subject.build, [_FIRST, _SECOND], "cpu")
    model = subject.build(_FIRST)
    own = _behaviour(subject, model)
    other = subject.build(_SECOND)
    if not _agree(own, _behaviour(subject, model)):
        raise subject.problem(
            "building a second model changes the outputs of the first one: the model reads something that all models "
            "share (a global variable, a registry); keep it in the model, registered by register_buffer"
        )
    _refuse_other_state(subject, own.state, _state(subject.build(_FIRST)), "in a second call")
    try:
        other.load_state_dict(own.state)
    except RuntimeError as error:
        raise subject.problem(
            f"the state dict of one model does not fit a model with another seed: {' '.join(str(error).split())}; build "
            "the same architecture for each seed"
        ) from error
    if not _agree(own, _behaviour(subject, other)):
        name = first_difference(model, other)
        raise subject.problem(_explained(name))
    if elsewhere is not None:
        _refuse_other_state(subject, own.state, elsewhere.state, "in another process")
        if not _agree(own, elsewhere):
            raise subject.problem(
                "a model gives other outputs in another process after loading the same state dict: it reads something "
                "random that is made once per process (when a module is imported, or by the first model); register it by "
                "register_buffer, or fix its seed"
            )


def _explained(name: str) -> str:
    """Return the finding for two models that differ in the attribute ``name``, empty if it was not found."""
    what = f"the model's '{name}' is" if name else "something outside the model's attributes is"
    return (
        f"{what} not part of its state dict but differs between seeds, so that methods would look at another model than "
        "the one that was trained; register it by register_buffer, or draw it with a fixed seed of its own"
    )


def _refuse_other_state(
    subject: Subject, own: dict[str, Tensor], other: dict[str, Tensor], where: str
) -> None:
    for name, value in own.items():
        if name not in other or not close(value, other[name], _TOLERANCE):
            raise subject.problem(
                f"the model factory gives another '{name}' for the same seed {where}; draw from the global generators of "
                "torch, numpy or random, which are seeded before each call, and read no time or shared state"
            )


def _behaviour(subject: Subject, model: nn.Module) -> Behaviour:
    x = join_rows([subject.data.x_train[subject.some(_ROWS)], subject.data.x_query[:_ROWS]])
    passes = [forward(model, x.clone(), training=training) for training in subject.modes]
    return Behaviour(_state(model), tuple(outputs for outputs, _ in passes), passes[-1][1])


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _agree(one: Behaviour, other: Behaviour) -> bool:
    same = all(
        close(mine, theirs, _TOLERANCE) for mine, theirs in zip(one.outputs, other.outputs, strict=True)
    )
    return same and one.draws == other.draws
