"""MLflow as a view of results: one experiment per setting, one run per (setting, method), found by its content key."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """What the run of one method on one setting shows."""

    setting: str
    method: str
    key: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    data_digest: str
    data_source: str
    configuration: dict[str, Any]
    figures: tuple[Path, ...] = ()


def publish(records: Sequence[Record], uri: str) -> dict[str, int]:
    """Make the tracking server show ``records``, and no other run in the experiments of their settings.

    A key that is there is left alone, one that was deleted is restored. A run whose key or method is no longer among
    the records is tagged ``superseded`` or ``removed`` and deleted, after its successor is complete.

    Args:
        records: of all methods of each setting that appears.
        uri: MLflow tracking URI; a local sqlite database is locked meanwhile, others are not.

    Returns:
        How many runs were ``written``, ``restored``, ``kept`` and ``deleted``.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with _locked(uri):
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        done = {"written": 0, "restored": 0, "kept": 0, "deleted": 0}
        for setting in dict.fromkeys(record.setting for record in records):
            _publish_setting(client, setting, [r for r in records if r.setting == setting], done)
    return done


@contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Keep other publishers out of a local sqlite database, which breaks for good when several initialise it at once."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    with Path(uri.removeprefix("sqlite:///") + ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _publish_setting(client: Any, setting: str, records: list[Record], done: dict[str, int]) -> None:
    from mlflow.entities import ViewType

    experiment = _experiment(client, setting)
    wanted = {record.key: record for record in records}
    for record in records:
        found = _runs(client, experiment, ViewType.ALL, f"tags.key = '{record.key}'")
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        if active:
            done["kept"] += 1
        elif found:
            client.restore_run(found[0].info.run_id)
            client.set_tag(found[0].info.run_id, "state", "current")
            done["restored"] += 1
        else:
            _write(client, experiment, record)
            done["written"] += 1
    methods = {record.method for record in records}
    seen: set[str] = set()
    for run in _runs(client, experiment, ViewType.ACTIVE_ONLY, "tags.key != ''"):
        key = run.data.tags["key"]
        if key in wanted and key not in seen:
            seen.add(key)
            continue
        state = "superseded" if run.data.tags.get("method") in methods else "removed"
        _delete(client, run.info.run_id, "duplicate" if key in wanted else state)
        done["deleted"] += 1


def _delete(client: Any, run_id: str, state: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.set_tag(run_id, "state", state)
        client.delete_run(run_id)
    except MlflowException:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            raise  # otherwise another publisher has just deleted it


def _experiment(client: Any, setting: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(setting)
    if found is None:
        try:
            return str(client.create_experiment(setting))
        except MlflowException:  # another publisher was faster, or the server says why not at the next line
            found = client.get_experiment_by_name(setting)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _runs(client: Any, experiment: str, view: int, query: str) -> list[Any]:
    """Return runs in an order that every publisher agrees on."""
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], query, view, page_token=token)
        runs += page
        token = page.token
        if not token:
            return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _write(client: Any, experiment: str, record: Record) -> None:
    """Write a run; the tag ``key`` comes last, so one that was cut short is never taken for whole."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

    run = client.create_run(experiment, run_name=record.method).info
    client.log_batch(
        run.run_id,
        metrics=[Metric(name, value, run.start_time, 0) for name, value in record.metrics.items()],
        params=[Param(name, value) for name, value in record.params.items()],
        tags=[RunTag(name, value) for name, value in record.tags.items()],
    )
    data = Dataset(record.setting, record.data_digest[:36], "local", record.data_source)
    client.log_inputs(run.run_id, [DatasetInput(data, [])])
    client.log_dict(run.run_id, record.configuration, "configuration.json")
    for figure in record.figures:
        client.log_artifact(run.run_id, str(figure), "figures")
    client.set_terminated(run.run_id)
    client.set_tag(run.run_id, "key", record.key)
