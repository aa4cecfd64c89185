"""MLflow as a view of results: one experiment per setting, one run per (setting, method), found by its content key."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from proponent.errors import UserError
from proponent.file_locks import exclusive
from proponent.publish.artifact_folders import artifact_root, follow_moved_database, local_path
from proponent.publish.run_artifacts import Artifacts
from proponent.publish.shared_view import view_tag

_OURS = {"proponent": "setting"}
"""Tag of the experiments that this project creates; others are never deleted."""
_ABANDONED_AFTER_SECONDS = 600
"""Seconds for which a run on a server may stay incomplete before its publisher is assumed to have died."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default MLflow makes seven attempts over four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Record:
    """Content of the run of one method on one setting."""

    setting: str
    method: str
    key: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    data_digest: str
    """Empty if the data could not be made."""
    data_source: str
    configuration: dict[str, Any]
    begun: int = 0
    """Start of the computation of the scores, in ms since 1970."""
    ended: int = 0
    """End of the computation of the scores, in ms since 1970."""
    artifacts: Artifacts = field(default_factory=Artifacts)
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
    """MLflow's status of the run."""

    def content(self) -> str:
        """Return a digest of the whole content; results with the same key may still differ in measured seconds."""
        shown = [{**vars(self), "artifacts": None}, self.artifacts.digest()]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def publish(records: Sequence[Record], uri: str, complete: bool = True) -> Counter[str]:
    """Make a tracking server or database show ``records``.

    A run that already shows a record is kept, and a deleted one is restored. The previous run of the same method is
    tagged ``state = superseded`` and deleted once its successor is complete.

    Args:
        records: at most one per setting and method.
        uri: MLflow tracking URI; a local SQLite database is locked during the call, others are not.
        complete: whether these are all records; if so, runs of other methods on these settings are deleted as
            ``removed``, and so are the experiments of other settings.

    Returns:
        Number of runs that were ``written``, ``updated``, ``restored``, ``kept``, and deleted as ``superseded``,
        ``removed``, ``duplicate`` (another publisher was faster) or ``incomplete`` (another publisher died).

    Raises:
        UserError: the server or database cannot be reached or rejects a record. The run that was being written stays
            incomplete, and the next call removes it.
    """
    with connected(uri) as client:
        view = _View(client, 0 if _database_file(uri) else _ABANDONED_AFTER_SECONDS)
        for setting in dict.fromkeys(record.setting for record in records):
            view.show(setting, [r for r in records if r.setting == setting], complete)
        if complete:
            view.delete_other_settings({record.setting for record in records})
        return view.done


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """Yield a client of the tracking server or database at ``uri``, after initialising the database.

    A local SQLite database is locked against other publishers: concurrent initialisation damages it permanently.

    Raises:
        UserError: any error of MLflow or the database, in one line.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported once, below
    file = _database_file(uri)
    if file:
        # MLflow's default is mlruns/ in the current directory, and takes no other value through its public interface.
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = artifact_root(file)
    try:
        with exclusive(file.with_name(f"{file.name}.lock")) if file else nullcontext():
            if uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
                engine = create_engine(uri)
                inspect(engine).get_table_names()  # fails at once, where MLflow would retry for two minutes
                engine.dispose()
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            if file:
                follow_moved_database(file)
            yield client
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        raise UserError(f"MLflow at {_without_password(uri)}: {_first_line(error)}") from error
    except ModuleNotFoundError as error:
        raise UserError(
            f"MLflow at {_without_password(uri)}: needs the package '{error.name}'; install it"
        ) from error


def _database_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def _lacks_artifacts(run: Any) -> bool:
    folder = local_path(run.info.artifact_uri)
    return folder is not None and not folder.is_dir()


def _without_password(uri: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:…@", uri)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@dataclass
class _View:
    client: Any
    abandoned_after: float
    """Seconds."""

    def __post_init__(self) -> None:
        self.done: Counter[str] = Counter()

    def show(self, setting: str, records: list[Record], complete: bool) -> None:
        """Make the experiment of ``setting`` show ``records``."""
        from mlflow.entities import ViewType

        experiment = self._experiment(setting)
        name, view = view_tag({metric for record in records for metric in record.metrics})
        _add(self.client.set_experiment_tag, experiment, name, view)
        known = self._runs(experiment, setting, ViewType.ALL)
        for record in records:
            self.done[self._show(experiment, record, known)] += 1
        keys = {record.method: record.key for record in records}
        shown: set[str] = set()
        for run in self._runs(experiment, setting, ViewType.ACTIVE_ONLY):
            tags = run.data.tags
            method, state = tags["method"], tags["state"]
            if state == "incomplete":
                if time.time() - float(tags["since"]) >= self.abandoned_after:
                    self._delete_as(run.info.run_id, "incomplete")
            elif method not in keys:
                if complete:
                    self._delete_as(run.info.run_id, "removed")
            elif tags["key"] != keys[method]:
                self._delete_as(run.info.run_id, "superseded")
            elif method in shown:
                self._delete_as(run.info.run_id, "duplicate")
            else:
                shown.add(method)

    def delete_other_settings(self, settings: set[str]) -> None:
        """Delete the experiments that this project created for settings other than ``settings``."""
        ((name, value),) = _OURS.items()
        for experiment in self.client.search_experiments(filter_string=f"tags.{name} = '{value}'"):
            if experiment.name not in settings:
                self.client.delete_experiment(experiment.experiment_id)

    def _show(self, experiment: str, record: Record, known: list[Any]) -> str:
        """Make one run show ``record``; return what was done with it."""
        content = record.content()
        same = [
            run
            for run in known
            if run.data.tags.get("key") == record.key
            and run.data.tags.get("data") == record.data_digest
            and run.data.params == record.params  # MLflow cannot change the parameters of a run
        ]
        if not same:
            begun = {"setting": record.setting, "method": record.method, **_incomplete()}
            run = self.client.create_run(experiment, record.begun, begun, record.method)
            self._fill(run.info.run_id, record, content)
            return "written"
        run = next((run for run in same if run.info.lifecycle_stage == "active"), same[0])
        run_id, deleted = run.info.run_id, run.info.lifecycle_stage != "active"
        if deleted:
            self._restore(run_id)
        if run.data.tags.get("content") != content or _lacks_artifacts(run):
            for name, value in _incomplete().items():
                _add(self.client.set_tag, run_id, name, value)
            self._fill(run_id, record, content)
            return "restored" if deleted else "updated"
        if run.data.tags["state"] != "current":
            _add(self.client.set_tag, run_id, "state", "current")
        return "restored" if deleted else "kept"

    def _fill(self, run_id: str, record: Record, content: str) -> None:
        """Write the content of a run; the tags that mark it as complete come last."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
        params = [Param(name, value) for name, value in record.params.items()]
        tags = [RunTag(name, value) for name, value in record.tags.items()]
        _add(self.client.log_batch, run_id, metrics, params, tags)
        if record.data_digest:
            data = Dataset(record.setting, record.data_digest[:36], "local", record.data_source)
            _add(
                self.client.log_inputs,
                run_id,
                [DatasetInput(data, [InputTag("mlflow.data.context", "training")])],
            )
        self.client.log_dict(run_id, record.configuration, "configuration.json")
        record.artifacts.log(self.client, run_id)
        self.client.set_terminated(run_id, record.status, end_time=record.ended)
        whole = {"key": record.key, "data": record.data_digest, "content": content, "state": "current"}
        _add(self.client.log_batch, run_id, tags=[RunTag(name, value) for name, value in whole.items()])

    def _delete_as(self, run_id: str, state: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            _add(self.client.set_tag, run_id, "state", state)
            self.client.delete_run(run_id)
        except MlflowException:
            if self.client.get_run(run_id).info.lifecycle_stage == "active":
                raise  # otherwise another publisher deleted it first
        self.done[state] += 1

    def _restore(self, run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.restore_run(run_id)
        except MlflowException:
            if self.client.get_run(run_id).info.lifecycle_stage != "active":
                raise  # otherwise another publisher restored it first

    def _experiment(self, setting: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(setting)
        if found is None:
            try:
                return str(self.client.create_experiment(setting, tags=_OURS))
            except MlflowException:
                found = self.client.get_experiment_by_name(setting)
                if found is None:
                    raise  # otherwise another publisher created it first
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _runs(self, experiment: str, setting: str, view: int) -> list[Any]:
        """Return the runs that this project created, in an order that is the same for every publisher."""
        runs: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                [experiment], f"tags.setting = '{setting}'", view, page_token=token
            )
            runs += [run for run in page if "method" in run.data.tags and "state" in run.data.tags]
            token = page.token
            if not token:
                return sorted(runs, key=lambda run: run.info.run_id)


def _add(call: Callable[..., Any], *values: Any, **named: Any) -> None:
    """Make a call that adds rows to MLflow's tables, unless another publisher adds them at the same time.

    The server looks for a row (a tag, a parameter, a dataset) and then adds it. If another publisher added it in between,
    the first attempt fails and the second finds it.
    """
    from mlflow.exceptions import MlflowException

    try:
        call(*values, **named)
    except MlflowException:
        call(*values, **named)


def _incomplete() -> dict[str, str]:
    return {"state": "incomplete", "since": f"{time.time():.6f}", "content": ""}
