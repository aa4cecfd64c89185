"""The view of a setting's runs in MLflow's UI: the columns of the leaderboard, the best method first.

MLflow keeps a view that a user shares as a tag of the experiment, and shows it to everybody who opens the link with the key
of the view.
"""

from __future__ import annotations

import json

KEY = "leaderboard"
_TAG = f"mlflow.sharedViewState.{KEY}"
_COLUMNS = (
    "lds",
    "lds_ci_low",
    "lds_ci_high",
    "lds_over_ceiling",
    "loo",
    "mislabel_auc",
    "attribution_seconds",
    "total_seconds",
)


def view_tag(metrics: set[str]) -> tuple[str, str]:
    """Return the tag of an experiment with the view of its runs.

    Args:
        metrics: names of the metrics that the runs have; the first known one orders them.
    """
    shown = [name for name in _COLUMNS if name in metrics]
    leading = next((name for name in ("lds", "mislabel_auc", "loo") if name in metrics), "total_seconds")
    view = {
        "orderByKey": f"metrics.`{leading}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [f"metrics.`{name}`" for name in shown],
    }
    return _TAG, json.dumps(view)


def link(server: str, experiment: str) -> str:
    """Return the address of the view of an experiment.

    Args:
        server: address of MLflow's server.
        experiment: identifier of the experiment.
    """
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
