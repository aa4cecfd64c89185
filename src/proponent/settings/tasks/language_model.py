"""Classification of every position of an example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks.class_labels import (
    class_labels,
    cross_entropy,
    labels_fit,
    margin,
    softmax_combinations,
    softmax_hessian,
    softmax_root,
)
from proponent.settings.tasks.task import Draw, Task

IGNORED = -100
"""Label of a position that a language model is not trained on (padding, or a prompt)."""


class LanguageModel(Task):
    """Cross-entropy of the next token, averaged or summed over the positions of an example; f is minus the loss.

    Outputs are logits (n, length, C), and ``y`` (n, length) holds the token that follows at each position, or
    ``ignore_index``.

    Args:
        ignore_index: label of a position that is left out.
        reduction: ``mean`` over the positions that count, so that every example weighs the same, or their ``sum``, so that
            every position does and an example is worth as much as it is long.

    Raises:
        UserError: the reduction is not known.
    """

    name = "language-model"

    def __init__(self, *, ignore_index: int = IGNORED, reduction: Literal["mean", "sum"] = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise UserError(f"task.reduction must be 'mean' or 'sum', not {reduction!r}")
        self._ignored, self._reduction = ignore_index, reduction

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean or the sum of -log p over the positions that are not ignored."""
        return (cross_entropy(outputs, self._tokens(y)) * self._weights(y, outputs)).sum(-1)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the loss."""
        return -self.loss(outputs, y)

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(p) - p p^T times the weight of each position, (n, length, C, C); zero where ignored."""
        return softmax_hessian(outputs) * self._weights(y, outputs)[..., None, None]

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(sqrt p) (I - 1 p^T) times the root of each position's weight, (n, length, C, C)."""
        return softmax_root(outputs) * self._weights(y, outputs).sqrt()[..., None, None]

    def combined_root(self, outputs: Tensor, y: Tensor, draw: Draw) -> Tensor:
        """Return combinations of the rows of each position's root, which is not written out: it has C rows."""
        found = softmax_combinations(outputs, draw(*outputs.shape[1:]))
        return found.mul_(self._weights(y, outputs).sqrt()[..., None, None])

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return token numbers in int64, (n, length)."""
        if y.ndim != 2:
            raise UserError(
                f"{where}: y must hold one token per position, (examples, length), not {tuple(y.shape)}"
            )
        labels = class_labels(y, where, n_classes, ignored=self._ignored)
        if bool((labels == self._ignored).all(1).any()):
            raise UserError(
                f"{where}: an example consists of ignored positions ({self._ignored}) only; drop this example"
            )
        return labels

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require logits (n, length, C) with C above the largest token."""
        if outputs.ndim != 3 or outputs.shape[1] != y.shape[1]:
            raise UserError(
                f"{where}: a language model must return logits (n, {y.shape[1]}, tokens), "
                f"not {tuple(outputs.shape)}"
            )
        labels_fit(y[y != self._ignored], outputs.shape[-1], where)

    def _tokens(self, y: Tensor) -> Tensor:
        """Return the tokens, with 0 at ignored positions."""
        return torch.where(y == self._ignored, 0, y)

    def _weights(self, y: Tensor, outputs: Tensor) -> Tensor:
        """Return the weight of every position in the loss, (n, length)."""
        return self._share(y, outputs) if self._reduction == "mean" else self._counted(y, outputs)

    def _share(self, y: Tensor, outputs: Tensor) -> Tensor:
        """Return the weight of every position in a mean, (n, length), with sum 1 over those that are not ignored."""
        counts = self._counted(y, outputs)
        return counts / counts.sum(-1, keepdim=True)

    def _counted(self, y: Tensor, outputs: Tensor) -> Tensor:
        """Return 1 for every position that counts and 0 for the others, (n, length)."""
        return (y != self._ignored).to(outputs.dtype)


class TokenMargins(LanguageModel):
    """The loss of a language model; f is the mean margin of its predictions (TRAK, Park et al. 2023, sec. 3.3 and 5).

    Each position that counts is a separate classification, and f is the mean of ``log(p / (1 - p))`` over them, where
    :class:`LanguageModel` has the mean of ``log p``. The positions are the masked tokens of a masked language model, or
    the tokens of the answer of a sequence-to-sequence model (``x`` then holds the question and the answer so far). An
    example of a contrastive model like CLIP has two positions, image to texts and text to images: outputs (n, 2, 1 + K)
    are the similarities, times the inverse temperature, of a pair with its own partner and with K others that are
    part of ``x``, and ``y`` (n, 2) is the column of the partner.

    The base is the target, and the loss weight is 1 minus the mean of p, as in TRAK. If positions are predicted with
    different certainty, minus the gradient of the loss is ``mean((1 - p_t) grad f_t)``, which ``loss_weight * grad f``
    only approximates: choose ``language-model`` for methods that need the exact gradient.
    """

    name = "masked-language-model"

    def __init__(self, *, ignore_index: int = IGNORED) -> None:
        super().__init__(ignore_index=ignore_index)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the positions that count of log(p / (1 - p))."""
        return (margin(outputs, self._tokens(y)) * self._share(y, outputs)).sum(-1)

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target."""
        return self.target(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean of 1 - p, each without cancellation."""
        return (torch.sigmoid(-margin(outputs, self._tokens(y))) * self._share(y, outputs)).sum(-1)

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return p (1 - p) of the mean of p, as for a single position."""
        wrong = self.loss_weight(outputs, y)
        return wrong * (1 - wrong)
