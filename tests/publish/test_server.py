"""Publishing to a real MLflow server with a real PostgreSQL database, also from sixteen processes at once."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from sqlalchemy import create_engine, text

from proponent.publish.tracking import Record, publish
from publish.services import free_port, postgresql, serving

pytestmark = pytest.mark.slow

_RACED_ROW = {
    "dataset": (
        "UPDATE datasets SET digest = 'of old data' WHERE name = :setting RETURNING name",
        "UPDATE datasets SET digest = :digest WHERE name = :setting",
    ),
    "tag of the experiment": (
        "DELETE FROM experiment_tags USING experiments WHERE name = :setting "
        "AND experiment_tags.experiment_id = experiments.experiment_id "
        "AND key LIKE 'mlflow.sharedViewState.%' RETURNING key, value, experiment_tags.experiment_id",
        "INSERT INTO experiment_tags (key, value, experiment_id) VALUES (:key, :value, :experiment_id)",
    ),
    "tag of the run": (
        "SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = :setting",
        "INSERT INTO tags (key, value, run_uuid) VALUES ('commit', 'c0ffee', :run_uuid)",
    ),
}
"""Per kind of row: the statement that removes it, and the one that adds it again."""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as uri:
        yield uri


@pytest.fixture(scope="module")
def server(database, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    with serving(command, port, folder) as url:
        yield url


def record(setting: str, method: str, key: str) -> Record:
    metrics = {"lds": 0.5, "lds_ci_low": 0.4, "lds_ci_high": 0.6}
    configuration = {"scores": {"family": method}}
    return Record(
        setting, method, key, {"damping": "0.1"}, metrics, {}, "ab" * 32, "{}", configuration, 1000, 2000
    )


def table(uri: str, setting: str, view: int = ViewType.ACTIVE_ONLY) -> list[tuple[str, str, str]]:
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(setting).experiment_id], run_view_type=view)
    return sorted((run.info.run_name, run.data.tags["key"], run.data.tags["state"]) for run in runs)


def test_the_server_shows_changed_removed_and_restored_runs(server):
    first = [record("laws", "trak", "k1"), record("laws", "random", "k2")]
    assert publish(first, server) == {"written": 2}
    assert publish(first, server) == {"kept": 2}
    assert publish([record("laws", "trak", "k3")], server) == {"written": 1, "superseded": 1, "removed": 1}
    assert table(server, "laws") == [("trak", "k3", "current")]
    assert table(server, "laws", ViewType.DELETED_ONLY) == [
        ("random", "k2", "removed"),
        ("trak", "k1", "superseded"),
    ]
    assert publish(first, server) == {"restored": 2, "superseded": 1}
    assert table(server, "laws") == [("random", "k2", "current"), ("trak", "k1", "current")]


def test_runs_written_through_the_server_are_in_the_database(server, database, tmp_path):
    publish([record("whole", "trak", "k1")], server, complete=False)
    (run,) = MlflowClient(database).search_runs(
        [MlflowClient(database).get_experiment_by_name("whole").experiment_id]
    )
    assert run.data.metrics == {"lds": 0.5, "lds_ci_low": 0.4, "lds_ci_high": 0.6}
    assert run.data.params == {"damping": "0.1"}
    assert run.inputs.dataset_inputs[0].dataset.name == "whole"
    (artifact,) = MlflowClient(server).list_artifacts(run.info.run_id)
    assert artifact.path == "configuration.json"


@pytest.mark.parametrize("added", ["dataset", "tag of the experiment", "tag of the run"])
def test_what_another_publisher_adds_first_does_not_fail(server, database, added):
    """MLflow looks for a row and then adds it; here another publisher adds it in between."""
    setting = f"raced {added}"
    publish([record(setting, "random", "k1")], server)
    remove, add = _RACED_ROW[added]
    engine = create_engine(database)
    with ThreadPoolExecutor(1) as pool, engine.connect() as other, engine.connect() as watch:
        values = {"setting": setting, "digest": ("ab" * 32)[:36]}
        row = other.execute(text(remove), values).mappings().first()
        other.commit()  # so that this publisher does not find the row
        other.execute(text(add), {**values, **(row or {})})
        changed = replace(record(setting, "random", "k1"), tags={"commit": "c0ffee"})
        found = pool.submit(publish, [changed, record(setting, "trak", "k2")], server, False)
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        deadline = time.monotonic() + 60
        while not (waited := watch.execute(waiting).scalar_one()) and time.monotonic() < deadline:
            watch.rollback()
            time.sleep(0.05)
        assert waited, "the publisher did not wait for the row"
        other.commit()
        assert found.result(60) == {"updated": 1, "written": 1}
    engine.dispose()
    assert table(server, setting) == [("random", "k1", "current"), ("trak", "k2", "current")]


def test_sixteen_publishers_at_once_leave_one_run_per_method(server):
    """A server is not locked: a slower publisher deletes its own run as a duplicate."""
    records = [record("many", method, f"k-{method}") for method in ("trak", "random")]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mlflow", "mlflow.store.tracking.rest_store", "proponent.publish.tracking"]
    )
    processes = [context.Process(target=publish, args=(records, server, False)) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * 16
    publish(records, server, complete=False)
    assert table(server, "many") == sorted((r.method, r.key, "current") for r in records)
    assert {state for _, _, state in table(server, "many", ViewType.DELETED_ONLY)} <= {"duplicate"}
