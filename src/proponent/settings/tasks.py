"""Tasks: the loss that a model is trained with, and the target f that is attributed.

The gradient of an example's loss is ``-loss_weight * gradient of its target``. This is exact except for tasks of
:class:`TokenMargins` with several positions per example that are predicted with different certainty. All functions
take a batch of outputs and use only differentiable torch operations, so that ``torch.func`` can transform them.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from proponent.config.load import nearest
from proponent.errors import UserError

TASKS = (
    "classification",
    "regression",
    "language-model",
    "masked-language-model",
    "seq2seq",
    "contrastive",
)

IGNORED = -100
"""Label of a position that a language model is not trained on (padding, or a prompt)."""


class Task(Protocol):
    """Loss and target as functions of the outputs of the model."""

    name: str

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of every example, (n,)."""
        ...

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target f of every example, (n,); higher means a better prediction."""
        ...

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the derivative of the loss with respect to the target, (n,)."""
        ...

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the Hessian of the loss with respect to the outputs, (n, …, C, C) for outputs (n, …, C).

        Positions between the first and the last axis (the tokens of a language model) do not interact: one block each.
        """
        ...

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return R, (n, …, C, C), with ``R^T R`` = :meth:`output_hessian`."""
        ...

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return ``y`` in the type that the task needs; raise a UserError if ``y`` cannot be used."""
        ...

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Raise a UserError unless a model with these outputs (of a few examples) can be trained on ``y``."""
        ...


class Classification:
    """Cross-entropy; the target is the margin of the label, log(p / (1 - p)). Outputs are logits, (n, C)."""

    name = "classification"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return -log p of the label."""
        return _cross_entropy(outputs, y)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the label's logit minus the logsumexp of the others (TRAK, Park et al. 2023, sec. 3.3)."""
        return _margin(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return 1 - p of the label without cancellation: the loss is softplus(-f), minus its derivative sigmoid(-f)."""
        return torch.sigmoid(-self.target(outputs, y))

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(p) - p p^T, which does not depend on the label."""
        p = outputs.softmax(-1)
        return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(sqrt p) (I - 1 p^T)."""
        p = outputs.softmax(-1)
        identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        return p.sqrt().unsqueeze(-1) * (identity - p.unsqueeze(-2))

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return integer labels in int64, one per example."""
        if y.ndim != 1:
            raise UserError(
                f"{where}: labels must be one integer per example, not rows of shape {tuple(y.shape[1:])}"
            )
        return _class_labels(y, where, n_classes)

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require logits (n, C) with C above the largest label."""
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise UserError(
                f"{where}: a classifier must return logits (n, classes) for two classes or more, not "
                f"{tuple(outputs.shape)}"
            )
        _labels_fit(y, outputs.shape[-1], where)


class Regression:
    """Half the squared error, summed over the components of y; f is minus the loss. Outputs are (n, C) or (n,)."""

    name = "regression"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return ||outputs - y||^2 / 2."""
        residual = outputs - y.reshape(outputs.shape)
        return 0.5 * residual.square().flatten(1).sum(1) if residual.ndim > 1 else 0.5 * residual.square()

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the loss."""
        return -self.loss(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return ones."""
        return outputs.new_ones(len(outputs))

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the identity."""
        size = outputs[0].numel()
        return torch.eye(size, dtype=outputs.dtype, device=outputs.device).expand(len(outputs), size, size)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the identity."""
        return self.output_hessian(outputs, y)

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return real numbers in a floating point type."""
        if n_classes is not None:
            raise UserError(
                f"{where}: regression has no classes; leave class_names out, or choose 'task: classification'"
            )
        if y.is_complex():
            raise UserError(f"{where}: y must be real numbers, not {y.dtype}")
        return (y if y.is_floating_point() else y.to(torch.float32)).contiguous()

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require as many outputs as components of y."""
        if outputs.ndim == 0 or math.prod(outputs.shape[1:]) != math.prod(y.shape[1:]):
            raise UserError(
                f"{where}: the model returns outputs of shape {tuple(outputs.shape[1:])} per example and y has "
                f"{tuple(y.shape[1:])}; both must hold the same number of elements"
            )


class LanguageModel:
    """Cross-entropy of the next token, averaged over the positions of an example; f is minus the loss.

    Outputs are logits (n, length, C), and ``y`` (n, length) holds the token that follows at each position, or
    :data:`IGNORED`.
    """

    name = "language-model"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean of -log p over the positions that are not ignored."""
        return (_cross_entropy(outputs, y.clamp(min=0)) * self._share(y, outputs)).sum(-1)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the loss."""
        return -self.loss(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return ones."""
        return outputs.new_ones(len(outputs))

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return (diag(p) - p p^T) / number of positions that count, (n, length, C, C); zero where ignored."""
        p = outputs.softmax(-1)
        block = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
        return block * self._share(y, outputs)[..., None, None]

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(sqrt p) (I - 1 p^T) / sqrt(number of positions that count), (n, length, C, C)."""
        p = outputs.softmax(-1)
        identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        root = p.sqrt().unsqueeze(-1) * (identity - p.unsqueeze(-2))
        return root * self._share(y, outputs).sqrt()[..., None, None]

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return token numbers in int64, (n, length)."""
        if y.ndim != 2:
            raise UserError(
                f"{where}: y must hold one token per position, (examples, length), not {tuple(y.shape)}"
            )
        labels = _class_labels(y, where, n_classes, ignored=IGNORED)
        if bool((labels == IGNORED).all(1).any()):
            raise UserError(
                f"{where}: an example consists of ignored positions ({IGNORED}) only; drop this example"
            )
        return labels

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require logits (n, length, C) with C above the largest token."""
        if outputs.ndim != 3 or outputs.shape[1] != y.shape[1]:
            raise UserError(
                f"{where}: a language model must return logits (n, {y.shape[1]}, tokens), "
                f"not {tuple(outputs.shape)}"
            )
        _labels_fit(y, outputs.shape[-1], where)

    @staticmethod
    def _share(y: Tensor, outputs: Tensor) -> Tensor:
        """Return the weight of every position, (n, length), with sum 1 over those that are not ignored."""
        counts = (y != IGNORED).to(outputs.dtype)
        return counts / counts.sum(-1, keepdim=True)


class TokenMargins(LanguageModel):
    """The loss of a language model; f is the mean margin of its predictions (TRAK, Park et al. 2023, sec. 3.3 and 5).

    Each position that counts is a separate classification, and f is the mean of ``log(p / (1 - p))`` over them, where
    :class:`LanguageModel` has the mean of ``log p``. The positions are the masked tokens of a masked language model, or
    the tokens of the answer of a sequence-to-sequence model (``x`` then holds the question and the answer so far). An
    example of a contrastive model like CLIP has two positions, image to texts and text to images: outputs (n, 2, 1 + K)
    are the similarities, times the inverse temperature, of a pair with its own partner and with K others that are
    part of ``x``, and ``y`` (n, 2) is the column of the partner.

    The loss weight is 1 minus the mean of p, as in TRAK. If positions are predicted with different certainty, minus
    the gradient of the loss is ``mean((1 - p_t) grad f_t)``, which ``loss_weight * grad f`` only approximates: choose
    ``language-model`` for methods that need the exact gradient.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the positions that count of log(p / (1 - p))."""
        return (_margin(outputs, y.clamp(min=0)) * self._share(y, outputs)).sum(-1)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean of 1 - p, each without cancellation."""
        return (torch.sigmoid(-_margin(outputs, y.clamp(min=0))) * self._share(y, outputs)).sum(-1)


def get_task(name: str) -> Task:
    """Return the task with this name.

    Raises:
        UserError: there is no such task; the message suggests the nearest name.
    """
    if name not in TASKS:
        raise UserError(f"unknown task '{name}'{nearest(name, TASKS)}")
    plain: dict[str, Task] = {task.name: task for task in (Classification(), Regression(), LanguageModel())}
    return plain[name] if name in plain else TokenMargins(name)


def _margin(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the label's logit minus the logsumexp of the others along the last axis."""
    label = y.unsqueeze(-1)
    others = outputs.scatter(-1, label, -torch.inf)
    return outputs.gather(-1, label).squeeze(-1) - others.logsumexp(-1)


def _cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return -log p of the labels; under ``vmap`` torch's own function is decomposed in Python."""
    return -outputs.log_softmax(-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)


def _class_labels(y: Tensor, where: str, n_classes: int | None, ignored: int | None = None) -> Tensor:
    if y.is_floating_point() or y.is_complex():
        raise UserError(
            f"{where}: labels must be integers, not {y.dtype}; convert them, or choose 'task: regression'"
        )
    labels = y.to(torch.int64)
    counted = labels[labels != ignored] if ignored is not None else labels
    if len(counted) and int(counted.min()) < 0:
        raise UserError(f"{where}: label {int(counted.min())} is negative; number the classes from 0")
    if n_classes is not None:
        _labels_fit(counted, n_classes, where)
    return labels.contiguous()


def _labels_fit(y: Tensor, n_classes: int, where: str) -> None:
    if y.numel() and int(y.max()) >= n_classes:
        raise UserError(
            f"{where}: label {int(y.max())} is out of range for {n_classes} classes; "
            f"labels run from 0 to {n_classes - 1}"
        )
