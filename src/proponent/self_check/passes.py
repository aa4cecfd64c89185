"""Forward and backward passes of a model: finite for every example, and the same alone, in batches and twice."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from proponent.batch_statistics import running_statistics
from proponent.chunking import chunks
from proponent.rows import Rows, outputs_of, rows_at_a_time, rows_equal
from proponent.self_check.subject import Subject, close, forward
from proponent.settings.kept_buffers import buffers_kept
from proponent.settings.model_diagnosis import diagnose, random_generators_used
from proponent.torch_failures import explained
from proponent.training.dropout import recorded_draws
from proponent.training.stack import CHANGES_STATE

_BATCH = 256
_ROWS = 8
_RUNS = 64
"""Passes over the same examples of a model that draws random numbers: what it rarely does shows in one of them."""


def refuse_not_finite(subject: Subject, model: nn.Module) -> None:
    """Refuse examples whose outputs, loss or gradients are not finite before any training, or with the given weights.

    Raises:
        UserError: names the first such example.
    """
    model.eval()
    trained = [value for value in model.parameters() if value.requires_grad]
    for what, x, y in subject.parts():
        value = subject.task.loss if what.startswith("training") else subject.task.target
        for rows in chunks(len(x), rows_at_a_time(x, _BATCH)):
            with explained(model, "cannot be differentiated"), torch.enable_grad():
                outputs = outputs_of(model, x[rows].clone())
                values = value(outputs, y[rows])
                slopes = torch.autograd.grad(values.sum(), trained, allow_unused=True)
            bad = ~outputs.isfinite().flatten(1).all(1) if outputs.ndim > 1 else ~outputs.isfinite()
            if bool(bad.any()):
                row = _first_alone(model, x[rows], bad) + rows.start
                raise subject.problem(
                    _not_finite_outputs(subject, what, row, outputs[bad], int(bad.sum()) == len(bad))
                )
            if not bool(values.isfinite().all()):
                row = int((~values.isfinite()).nonzero()[0]) + rows.start
                raise subject.problem(
                    f"the {'loss' if value == subject.task.loss else 'target'} of {what} {row} is not finite "
                    f"{subject.when}, although the outputs are; check its label"
                )
            if not _all_finite(slopes):
                row = _first_gradient(model, x[rows], y[rows], value, trained) + rows.start
                raise subject.problem(
                    f"the gradient of {what} {row} is not finite {subject.when}, although its outputs are; the "
                    "derivative of sqrt, norm or a division is infinite at 0: add a small constant inside"
                )


def _not_finite_outputs(subject: Subject, what: str, row: int, outputs: Tensor, everywhere: bool) -> str:
    has_nan = bool(outputs.isnan().any())
    kind = "NaN" if has_nan else "-inf" if bool((outputs == -torch.inf).any()) else "inf"
    remedy = (
        "clean this row, or guard the operation (a logarithm or division by 0, the mean of nothing)"
        if has_nan
        else "use a large finite number, such as -1e4 for a class that is masked out"
    )
    which = "every example tried" if everywhere else f"{what} {row}"
    model = "given" if subject.weights else "untrained"
    return f"the {model} model gives {kind} for {which} ({subject.when}); {remedy}"


def _first_alone(model: nn.Module, x: Rows, bad: Tensor) -> int:
    """Return the first row whose outputs are not finite even alone: a model that mixes examples spreads NaN."""
    rows = bad.nonzero().flatten().tolist()
    with torch.no_grad():
        for row in rows:
            if not bool(outputs_of(model, x[row : row + 1].clone()).isfinite().all()):
                return int(row)
    return int(rows[0])


def _all_finite(slopes: Iterable[Tensor | None]) -> bool:
    dense = (slope.to_dense() if slope.is_sparse else slope for slope in slopes if slope is not None)
    return all(bool(slope.isfinite().all()) for slope in dense)


def _first_gradient(model: nn.Module, x: Rows, y: Tensor, value: object, trained: list[nn.Parameter]) -> int:
    for row in range(len(x)):
        with torch.enable_grad():
            one = value(outputs_of(model, x[row : row + 1].clone()), y[row : row + 1])  # type: ignore[operator]
            slopes = torch.autograd.grad(one.sum(), trained, allow_unused=True)
        if not _all_finite(slopes):
            return row
    return 0


def refuse_changes_of_state(subject: Subject, model: nn.Module) -> None:
    """Refuse a model whose forward pass changes its own tensors, except for buffers in training mode.

    Raises:
        UserError: names what changes: a parameter, a buffer that is not saved, or in eval mode any buffer.
    """
    x = subject.data.x_train[subject.some(_ROWS)]
    saved = model.state_dict().keys()
    for training in subject.modes:
        before = {name: value.detach().clone() for name, value in _tensors(model).items()}
        may_change = {name for name, _ in model.named_buffers() if training and name in saved}
        model.train(training)
        with torch.no_grad(), recorded_draws(), buffers_kept(model):
            outputs_of(model, x.clone())
            after = {name: value.detach().clone() for name, value in _tensors(model).items()}
        for name, value in after.items():
            if name not in before or (name not in may_change and not torch.equal(before[name], value)):
                where = "" if training else " in eval mode"
                raise subject.problem(f"the model's forward pass{where} {CHANGES_STATE.format(name)}")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def refuse_disagreement(subject: Subject, model: nn.Module) -> None:
    """Refuse a model whose outputs for an example depend on anything but the example, in eval and in training mode.

    Raises:
        UserError: the model changes its input, draws random numbers other than those of dropout, keeps something from pass
            to pass, or mixes the examples of a batch.
    """
    rows = subject.some(_ROWS)
    x = subject.data.x_train[rows]
    for training in subject.modes:
        run = partial(_outputs, model, training)
        if _agrees(run, x):
            continue
        mode = "in training mode, " if training else ""
        cause = diagnose(model, run, x)
        raise subject.problem(
            f"{mode}{cause}"
            if cause
            else f"{mode}the model gives other outputs for training example {int(rows[0])} from pass to pass, or alone and "
            "in a batch; let the outputs of an example depend on that example only"
        )


def _outputs(model: nn.Module, training: bool, x: Rows) -> Tensor:
    """Return outputs; in training mode those without statistics of the batch, which batch normalisation may use."""
    with running_statistics() if training else nullcontext():
        return forward(model, x, training=training)[0]


def _agrees(run: partial[Tensor], x: Rows) -> bool:
    given = x.clone()
    together = run(given)
    if not rows_equal(given, x):
        return False
    again = [run(x.clone())]
    if random_generators_used(lambda: run(x.clone())):
        again += [run(x.clone()) for _ in range(_RUNS)]
    order = torch.arange(len(x)).flip(0)
    permuted = run(x[order].clone())[order]
    alone = [run(x[row : row + 1].clone()) for row in range(len(x))]
    if any(one.shape != together[:1].shape for one in alone):
        return False
    return all(close(together, other) for other in (*again, permuted, torch.cat(alone)))
