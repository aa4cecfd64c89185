"""A task made of a class of the user's own.

The class has two methods, ``loss(outputs, y)`` and ``target(outputs, y)``, which return one number per example, (n,), from
differentiable torch operations. Two further methods are optional:

- ``loss_weight(outputs, y)``, (n,): minus the derivative of the loss with respect to the target, for a loss that is a
  function of the target. Without it, the gradients of the training losses are taken by autograd.
- ``output_hessian_root(outputs, y)``, (n, C, C) for C outputs of an example: R of the Gauss-Newton matrix ``J^T R^T R J``.
  Without it, ``R^T R`` is the Hessian of the loss with respect to the outputs by autograd, whose negative eigenvalues
  (of a loss that is not convex in the outputs) are set to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.settings.tasks.task import Task

_REQUIRED = ("loss", "target")
_OPTIONAL = ("loss_weight", "output_hessian_root")
_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError)
_AGREEMENT = 1e-3
_SMALLEST = torch.finfo(torch.float32).tiny


class OwnTask(Task):
    """Task with the methods of a user's object.

    Args:
        own: object with the methods that the module describes.
        name: name of its class, ``package.module:Task``.

    Raises:
        UserError: a method is missing.
    """

    def __init__(self, own: Any, name: str) -> None:
        self._own, self.name = own, name
        methods = {key for key in dir(own) if not key.startswith("_") and callable(getattr(own, key))}
        for wanted in _REQUIRED:
            if wanted not in methods:
                raise UserError(
                    f"task '{name}': {type(own).__name__} has no method {wanted}(outputs, y), which returns one number per "
                    f"example{nearest(wanted, methods)}"
                )
        self._weighs, self._has_root = (wanted in methods for wanted in _OPTIONAL)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses of the user's class."""
        return self._numbers("loss", outputs, y)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the targets of the user's class."""
        return self._numbers("target", outputs, y)

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target if the class has a loss weight, and minus the loss otherwise."""
        return self.target(outputs, y) if self._weighs else -self.loss(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss weights of the class, or ones."""
        return self._numbers("loss_weight", outputs, y) if self._weighs else outputs.new_ones(len(outputs))

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the derivative of the loss weight with respect to the target, or zeros where the base is -loss.

        Along the gradient of the target f with respect to the outputs, a weight w(f) changes by w' |grad f|^2.
        """
        if not self._weighs:
            return super().loss_curvature(outputs, y)
        of_weight, of_target = (
            grad(lambda point, value=value: value(point, y).to(point).sum())(outputs).reshape(
                len(outputs), -1
            )
            for value in (self.loss_weight, self.target)
        )
        return -(of_weight * of_target).sum(1) / of_target.square().sum(1).clamp_min(_SMALLEST)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the root of the class, or that of the positive part of the Hessian by autograd."""
        size = outputs[0].numel()
        if not self._has_root:
            return _positive_root(self._hessian(outputs, y))
        root: Tensor = self._own.output_hessian_root(outputs, y)
        if root.shape != (len(outputs), size, size):
            raise self._problem(
                f"output_hessian_root returned a tensor of shape {tuple(root.shape)}; return (n, C, C), here "
                f"{(len(outputs), size, size)}"
            )
        return root

    def hessian_product(self, outputs: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
        """Return R^T R v, which is not the Hessian's product where R leaves out negative eigenvalues."""
        root = self.output_hessian_root(outputs.detach(), y)
        flat = vectors.reshape(len(vectors), -1, 1)
        return (root.mT @ (root @ flat)).reshape(vectors.shape)

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return fractions as they are, and whole numbers in int64."""
        if y.is_complex():
            raise UserError(f"{where}: y must be real numbers, not {y.dtype}")
        return (y if y.is_floating_point() else y.to(torch.int64)).contiguous()

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Try all methods on some outputs and labels.

        Raises:
            UserError: names the method that fails, returns another shape, or mixes examples.
        """
        labels = y[: len(outputs)]
        outputs = outputs.detach()[: len(labels)]
        for name in (*_REQUIRED, *(["loss_weight"] if self._weighs else [])):
            together = self._tried(name, partial(self._numbers, name, outputs, labels), where)
            alone = self._tried(name, partial(self._numbers, name, outputs[:1], labels[:1]), where)
            if not torch.allclose(together[:1], alone, rtol=1e-4, equal_nan=True):
                raise self._problem(
                    f"{name} of an example depends on the other examples of the batch; return one number per example, "
                    "computed from its own outputs and label"
                )
        self._tried("output_hessian_root", partial(self.output_hessian_root, outputs, labels), where)
        if self._weighs:
            self._compare_gradients(outputs, labels)
            self._tried("loss_weight", partial(self.loss_curvature, outputs, labels), where)

    def _compare_gradients(self, outputs: Tensor, y: Tensor) -> None:
        """Refuse loss weights that do not turn gradients of the target into those of the loss."""
        with torch.enable_grad():
            of_loss, of_target = (
                grad(lambda point, value=value: value(point, y).sum())(outputs)
                for value in (self.loss, self.target)
            )
        weight = self.loss_weight(outputs, y).reshape(-1, *[1] * (outputs.ndim - 1))
        apart = (of_loss + weight * of_target).abs().max()
        if not bool(apart <= _AGREEMENT * of_loss.abs().max().clamp_min(1e-12)):
            raise self._problem(
                "the gradient of loss is not -loss_weight times that of target; correct loss_weight, or leave it out"
            )

    def _hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the Hessian of the loss with respect to the flattened outputs, (n, C, C)."""
        size = outputs[0].numel()

        def loss(row: Tensor, label: Tensor) -> Tensor:
            return self.loss(row.reshape(1, *outputs.shape[1:]), label[None])[0]

        rows = outputs.reshape(len(outputs), size)
        found: Tensor = vmap(jacrev(grad(loss)))(rows, y)
        return found

    def _numbers(self, name: str, outputs: Tensor, y: Tensor) -> Tensor:
        """Return what a method gives, one number per example."""
        found = getattr(self._own, name)(outputs, y)
        if not isinstance(found, Tensor):
            raise self._problem(f"{name} returned a {type(found).__name__}; return a tensor (n,)")
        if found.shape != (len(outputs),):
            hint = "" if found.ndim else ", without the mean over the batch"
            raise self._problem(
                f"{name} returned a tensor of shape {tuple(found.shape)} for {len(outputs)} examples; return one number "
                f"per example, ({len(outputs)},){hint}"
            )
        return found

    def _tried(self, name: str, call: Callable[[], Tensor], where: str) -> Tensor:
        try:
            return call()
        except _FAILURES as error:
            raise UserError(
                f"{where}: task '{self.name}': method {name} fails on outputs of the model: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error

    def _problem(self, text: str) -> UserError:
        return UserError(f"task '{self.name}': {text}")


def _positive_root(hessian: Tensor) -> Tensor:
    """Return R with ``R^T R`` = the symmetric matrices (n, C, C) without their negative eigenvalues."""
    if hessian.shape[-1] == 1:
        return hessian.clamp_min(0).sqrt()
    values, vectors = torch.linalg.eigh(hessian)
    return values.clamp_min(0).sqrt()[..., None] * vectors.mT
