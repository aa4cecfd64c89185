"""MLflow shows what there is: published again, changed, removed, deleted, by many at once."""

from __future__ import annotations

import dataclasses
import multiprocessing

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from proponent.publish.tracking import Record, publish


def record(method: str, key: str) -> Record:
    return Record(
        "toy", method, key, {"damping": "0.1"}, {"lds": 0.5, "lds_ci_low": 0.4}, {"method": method, "state": "current"},
        "ab" * 32, "{}", {"family": method},
    )  # fmt: skip


RECORDS = [record("trak", "k1"), record("random", "k2")]


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def table(uri: str, view: int = ViewType.ACTIVE_ONLY) -> list[tuple[str, str, str]]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("toy").experiment_id
    runs = client.search_runs([experiment], run_view_type=view)
    return sorted((run.info.run_name, run.data.tags["key"], run.data.tags["state"]) for run in runs)


def test_a_run_a_method_and_publishing_twice_adds_none(uri):
    assert publish(RECORDS, uri) == {"written": 2, "restored": 0, "kept": 0, "deleted": 0}
    assert publish(RECORDS, uri) == {"written": 0, "restored": 0, "kept": 2, "deleted": 0}
    assert table(uri, ViewType.ALL) == [("random", "k2", "current"), ("trak", "k1", "current")]


def test_a_run_holds_parameters_intervals_dataset_and_configuration(uri):
    publish(RECORDS[:1], uri)
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert run.data.params == {"damping": "0.1"}
    assert run.data.metrics == {"lds": 0.5, "lds_ci_low": 0.4}
    assert run.inputs.dataset_inputs[0].dataset.name == "toy"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["configuration.json"]


def test_a_changed_method_replaces_its_run_and_the_old_one_is_found_and_comes_back(uri):
    publish(RECORDS, uri)
    publish([dataclasses.replace(RECORDS[0], key="k3"), RECORDS[1]], uri)
    assert table(uri) == [("random", "k2", "current"), ("trak", "k3", "current")]
    assert table(uri, ViewType.DELETED_ONLY) == [("trak", "k1", "superseded")]
    assert publish(RECORDS, uri)["restored"] == 1
    assert table(uri) == [("random", "k2", "current"), ("trak", "k1", "current")]


def test_a_removed_method_leaves_the_view(uri):
    publish(RECORDS, uri)
    publish(RECORDS[:1], uri)
    assert table(uri) == [("trak", "k1", "current")]
    assert table(uri, ViewType.DELETED_ONLY) == [("random", "k2", "removed")]


def test_sixteen_at_once_on_no_database_lose_nothing(uri):
    processes = [
        multiprocessing.get_context("fork").Process(target=publish, args=(RECORDS, uri)) for _ in range(16)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 16
    assert table(uri, ViewType.ALL) == [("random", "k2", "current"), ("trak", "k1", "current")]
