"""Commands of MLflow: publish, ui."""

from __future__ import annotations

import importlib

import click

from proponent.commands.own_checkout import checkout, planned
from proponent.errors import UserError


@click.command()
@click.argument("metrics", nargs=-1)
def publish(metrics: tuple[str, ...]) -> None:
    """Make MLflow show what params.yaml names, and nothing else.

    With METRICS (results/SETTING/metrics/METHOD.json), only these runs are written or replaced. The database is mlflow.db in
    the checkout, or what MLFLOW_TRACKING_URI names.
    """
    root = checkout()
    done = importlib.import_module("proponent.steps.publish").run(
        root, metrics or _settled_metrics(), complete=not metrics
    )
    click.echo(", ".join(f"{count} {what}" for what, count in done.items()))


def _settled_metrics() -> list[str]:
    """Return the metrics file of every method on every setting, after checking that each is current or has a reason."""
    from proponent.inspection.failures import find_failures
    from proponent.plan.current import current_artefacts

    plan = planned()
    failures = find_failures(plan.graph, current_artefacts(plan.graph))
    for path in plan.metrics_files():
        if path not in failures.current and not failures.why_missing(path):
            raise UserError(f"{path}: not there, or not what params.yaml now asks for; run snakemake publish")
    return plan.metrics_files()


@click.command()
@click.option("--port", default=5000, show_default=True, help="Of 127.0.0.1.")
def ui(port: int) -> None:
    """Serve MLflow's UI for this machine alone, over the database that publish writes."""
    from proponent.publish.ui import serve
    from proponent.steps.publish import tracking_uri

    serve(tracking_uri(checkout()), port)
