"""An estimate with its uncertainty, which every metric returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
"""Coverage of every interval in this package."""


@dataclass(frozen=True)
class Estimate:
    """The value of a metric, its 95 % interval, and the replicates from which the interval is computed.

    Attributes:
        value: value of the metric.
        ci_low: lower end of the 95 % interval.
        ci_high: upper end of the 95 % interval.
        replicates: (n_resamples,) float64, the values on the resamples. ``replicates[b]`` of two methods that were evaluated
            with the same seed belong to the same resample b, so that their difference is paired.
        extras: further values by name, which JSON can represent: numbers, text, lists and None.

    Examples:
        >>> import numpy as np
        >>> from proponent.metrics.estimate import Estimate
        >>> estimate = Estimate.from_replicates(0.5, np.array([0.4, 0.5, 0.6]))
        >>> round(estimate.ci_low, 3), round(estimate.ci_high, 3)
        (0.405, 0.595)
    """

    value: float
    ci_low: float
    ci_high: float
    replicates: Array
    extras: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_replicates(
        cls,
        value: float,
        replicates: Array,
        bounds: tuple[float, float] = (-np.inf, np.inf),
        extras: dict[str, Any] | None = None,
    ) -> Estimate:
        """Return an estimate whose interval is that of its replicates.

        Args:
            value: value on the sample itself.
            replicates: (n_resamples,) values on the resamples.
            bounds: smallest and largest possible value, to which the interval is restricted.
            extras: further values by name.
        """
        low, high = interval(value, replicates, bounds)
        return cls(float(value), low, high, np.asarray(replicates, dtype=np.float64), extras or {})

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of this metric in ``results/S/metrics/M.json``."""
        return {
            "value": self.value,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            **self.extras,
            "replicates": [round(float(r), 7) for r in self.replicates],
        }


def interval(
    value: float, replicates: Array, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``replicates``, moved so that their mean falls on ``value``.

    A resample repeats some units and misses others. The repeated units tie, which pulls a rank correlation
    towards zero (by about .005 at .78 with 100 units, by .018 at .93 with 20), although nothing in the data
    does. The plain percentile interval keeps that shift: it covered the true value in 94 % and 76 % of these
    two simulated worlds, compared with 97 % and 98 % after the shift is removed. The bias-corrected
    percentile interval, with or without acceleration, does as well on the LDS but covered only 86 % on a
    ceiling of .33. ``tests/metrics/test_coverage.py`` repeats the simulation.

    Args:
        value: the estimate on the sample itself.
        replicates: (n_resamples,) the same quantity on each resample.
        bounds: smallest and largest possible value of the quantity.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail]) + (value - np.mean(replicates))
    return float(np.clip(low, *bounds)), float(np.clip(high, *bounds))
