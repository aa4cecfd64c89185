"""The view of a setting's runs in MLflow's UI: the columns of the leaderboard, the best method first.

MLflow keeps a view that a user shares as a tag of the experiment, and shows it to everybody who opens the link with the key
of the view.
"""

from __future__ import annotations

import json

from proponent.publish.ranking import METRICS

KEY = "leaderboard"
_TAG = f"mlflow.sharedViewState.{KEY}"
_COST = ("attribution_seconds", "total_seconds")


def view_tag(metrics: set[str]) -> tuple[str, str]:
    """Return the tag of an experiment with the view of its runs.

    Args:
        metrics: names of the metrics that the runs have. The first of the leaderboard orders them and is shown with its
            interval; without one, the fastest method is first.
    """
    ranked = [name for name in METRICS if name in metrics]
    leading = ranked[0] if ranked else "total_seconds"
    detailed = (f"{leading}_{part}" for part in ("ci_low", "ci_high", "over_ceiling"))
    shown = [name for name in (*ranked[:1], *detailed, *ranked[1:], *_COST) if name in metrics]
    view = {
        "orderByKey": f"metrics.`{leading}`",
        "orderByAsc": not ranked,
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
