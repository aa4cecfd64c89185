"""Functions behind the names of metrics in ``configs/metrics/``."""

from __future__ import annotations


def metric_function(metric: str) -> tuple[str, str]:
    """Return the module and the function of a metric.

    Args:
        metric: name of a module of :mod:`proponent.metrics`, whose function is ``evaluate``, or ``package.module:function``.
    """
    module, colon, function = metric.partition(":")
    return (module, function) if colon else (f"proponent.metrics.{metric}", "evaluate")
