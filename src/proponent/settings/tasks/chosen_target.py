"""A task with a target other than its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks.task import DerivedTask, Task

_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError)


class ChosenTarget(DerivedTask):
    """A task of which a function of outputs and labels is attributed; what is trained stays as it is.

    Args:
        inner: task that gives the loss and its gradients.
        function: function from outputs (n, ...) and labels to the targets (n,).
        name: name of the function, for messages.
    """

    def __init__(self, inner: Task, function: Callable[[Tensor, Tensor], Tensor], name: str) -> None:
        super().__init__(inner)
        self._function, self._function_name = function, name

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the chosen targets."""
        found = self._function(outputs, y)
        if not isinstance(found, Tensor) or found.shape != (len(outputs),):
            what = (
                f"a tensor of shape {tuple(found.shape)}"
                if isinstance(found, Tensor)
                else type(found).__name__
            )
            raise UserError(
                f"target '{self._function_name}' returned {what} for {len(outputs)} examples; return one number per "
                f"example, ({len(outputs)},)"
            )
        return found

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Try the target on some outputs and labels, after the checks of the inner task."""
        self.inner.check_outputs(outputs, y, where)
        labels = y[: len(outputs)]
        try:
            self.inner.check_queries(labels, where)
        except UserError:  # training examples whose label is ignored have no target
            return
        try:
            self.target(outputs[: len(labels)], labels)
        except _FAILURES as error:
            raise UserError(
                f"{where}: target '{self._function_name}' fails on outputs of shape {tuple(outputs.shape)}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error
