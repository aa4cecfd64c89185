"""A declarative, reproducible benchmark of training data attribution (TDA), and its methods for models of one's own.

From Python: :class:`Attributor` scores the training examples of a model that is trained already, :class:`Explainer` shows
why a model predicts what it does, ``open()`` reads finished results, ``methods()`` lists the methods, and
:mod:`proponent.metrics` evaluates scores, also those that were computed elsewhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from proponent.callable_modules import make_callable
from proponent.errors import UserError

if TYPE_CHECKING:
    from proponent import metrics as metrics
    from proponent.attributor import Attributor as Attributor
    from proponent.explainer import Explainer as Explainer
    from proponent.finished_results import open_results as open
    from proponent.trained.method_table import method_table as methods
else:
    from proponent import methods

    def _list_methods(model=None, train=None, *, task=None):  # noqa: ANN001, ANN202 -- typed above
        """Return a table of all methods; see :func:`proponent.trained.method_table.method_table`."""
        from proponent.trained.method_table import method_table

        return method_table(model, train, task=task)

    # ``methods`` is the package of the methods as well
    make_callable("proponent.methods", _list_methods)

__version__ = "0.1.0"
__all__ = ["Attributor", "Explainer", "UserError", "methods", "metrics", "open"]
_PLACES = {
    "Attributor": ("proponent.attributor", "Attributor"),
    "Explainer": ("proponent.explainer", "Explainer"),
    "open": ("proponent.finished_results", "open_results"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import proponent`` needs no torch."""
    if name in _PLACES:
        module, attribute = _PLACES[name]
        return getattr(importlib.import_module(module), attribute)
    if name == "metrics":
        import proponent.metrics

        return proponent.metrics
    raise AttributeError(f"module 'proponent' has no attribute '{name}'")
