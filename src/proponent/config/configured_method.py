"""A method as configured: its YAML file, and the properties that are read from the source of its module."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from proponent.config.benchmark_schema import MethodConfig

EXTERNAL = "external"
"""Family of a method whose scores are made by a rule of the user's own, in any language."""


@dataclass(frozen=True)
class Method:
    """A method's configuration, and the needs and properties of its functions."""

    name: str
    config: MethodConfig
    module: str
    """Dotted name of the module; empty for the external family."""
    function: str
    """Name of the function in the module; empty for the external family."""
    code: tuple[str, ...]
    """Definitions (``module:name``) that a job uses of its module; empty for the external family."""
    needs: tuple[str, ...]
    """Positional arguments of the function."""
    self_influence: bool
    """Whether the module has a function ``self_influence``."""
    tasks: tuple[str, ...] | None
    """Tasks that it can run on; None if it can run on all."""
    inputs: str | None = None
    """Rows of x that it can run on, a name of ``setting_schema.Inputs``; None if it can run on all."""
    optimizers: tuple[str, ...] | None = None
    """Optimisers that it was derived for; None if it can run with all."""
    checkpoints: int = 0
    """Number of checkpoints that a setting must save along training, in addition to the final model."""
    labels: tuple[str, ...] = ()
    """Values of the hyper-parameter ``labels`` that compare labels for equality: for classification only."""
    arrays: str = "torch"
    """Library of the arrays that it computes with: ``torch`` or ``numpy`` (the constant ``ARRAYS`` of its module)."""
    finish_needs: tuple[str, ...] = ()
    """Needs of its function ``finish``, in addition to the combined scores of the members; empty without one."""
    groups: bool = False
    """Whether it predicts the effect of groups of examples itself, because that is not the sum of their scores."""

    uses: dict[str, dict[str, str]] = field(default_factory=dict)
    """Operations of its needs that only some values of a hyper-parameter ask for, by hyper-parameter and value."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Defaults of its hyper-parameters."""
    averaged: str | None = None
    """Method that it averages over members, if its name says so: ``graddot`` for ``graddot-10``."""

    @property
    def external(self) -> bool:
        """Whether a rule of the user's own makes the scores."""
        return self.config.family == EXTERNAL

    @property
    def all_needs(self) -> tuple[str, ...]:
        """The needs of all its functions."""
        return tuple(dict.fromkeys((*self.needs, *self.finish_needs)))

    def values_of(self, parameter: str) -> list[Any]:
        """Return all values that a hyper-parameter can get: those of the grid, else that of ``params``, else the default."""
        if self.config.tune is not None and parameter in self.config.tune.grid:
            return list(self.config.tune.grid[parameter])
        given = {**self.defaults, **self.config.params}
        return [given[parameter]] if parameter in given else []

    def candidates(self, *, has_classes: bool = True) -> list[dict[str, Any]]:
        """Return the hyper-parameters to try: the product of the grid up to the budget, or ``params`` alone.

        Args:
            has_classes: whether each example has one class; without, no value of ``labels`` that compares labels is
                tried, unless the grid has no other.
        """
        if self.config.tune is None:
            return [dict(self.config.params)]
        grid = dict(self.config.tune.grid)
        if not has_classes and "labels" in grid:
            grid["labels"] = [value for value in grid["labels"] if value not in self.labels] or grid["labels"]
        product = itertools.islice(itertools.product(*grid.values()), self.config.tune.budget)
        return [{**self.config.params, **dict(zip(grid, values, strict=True))} for values in product]
