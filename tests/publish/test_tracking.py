"""MLflow shows the current results after changes, removals, interruptions and concurrent publishing, on any database."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from proponent.errors import UserError
from proponent.publish import tracking
from proponent.publish.run_artifacts import Artifacts
from proponent.publish.shared_view import view_tag
from proponent.publish.tracking import Record, publish


def record(method: str, key: str, setting: str = "toy", **changes) -> Record:
    made = Record(
        setting=setting,
        method=method,
        key=key,
        params={"damping": "0.1"},
        metrics={"lds": 0.5, "lds_ci_low": 0.4, "total_seconds": 3.0},
        tags={"commit": "c0ffee"},
        data_digest="ab" * 32,
        data_source='{"uri": "results/toy/data/train.safetensors"}',
        configuration={"scores": {"family": method}},
        begun=1_700_000_000_000,
        ended=1_700_000_003_000,
    )
    return dataclasses.replace(made, **changes)


RECORDS = [record("trak", "k1"), record("random", "k2")]


@pytest.fixture(scope="session")
def initialised(tmp_path_factory) -> Path:
    """Database with MLflow's empty tables, which take seconds to create."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    publish([], f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(initialised, tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    shutil.copy(initialised, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def runs(uri: str, view: int = ViewType.ACTIVE_ONLY, setting: str = "toy") -> list:
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name(setting).experiment_id], run_view_type=view)


def table(uri: str, view: int = ViewType.ACTIVE_ONLY) -> list[tuple[str, str, str]]:
    """Return method, key and state of the runs; by default those that MLflow shows."""
    return sorted(
        (run.info.run_name, run.data.tags.get("key"), run.data.tags["state"]) for run in runs(uri, view)
    )


CURRENT = [("random", "k2", "current"), ("trak", "k1", "current")]


def everything_shown(uri: str) -> list:
    """Return the content of the default view without MLflow's own identifiers."""
    return sorted(
        (run.info.run_name, run.info.start_time, run.info.end_time, run.data.params, run.data.metrics,
         {name: value for name, value in run.data.tags.items() if name != "since"})
        for run in runs(uri)
    )  # fmt: skip


def test_there_is_one_run_per_method_and_publishing_twice_adds_none(uri):
    assert publish(RECORDS, uri) == {"written": 2}
    assert publish(RECORDS, uri) == {"kept": 2}
    assert table(uri, ViewType.ALL) == CURRENT


def test_a_run_contains_parameters_intervals_tags_dataset_figures_and_configuration(uri, tmp_path):
    figure = tmp_path / "lds-toy.svg"
    figure.write_text("<svg/>")
    rows = [{"metric": "lds", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}]
    artifacts = Artifacts((figure,), "<p>gallery</p>", rows)
    assert publish([record("trak", "k1", artifacts=artifacts)], uri) == {"written": 1}
    client = MlflowClient(uri)
    (run,) = runs(uri)
    assert run.data.params == {"damping": "0.1"}
    assert run.data.metrics == {"lds": 0.5, "lds_ci_low": 0.4, "total_seconds": 3.0}
    assert (
        run.data.tags.items()
        >= {"commit": "c0ffee", "key": "k1", "data": "ab" * 32, "method": "trak"}.items()
    )
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED", 1_700_000_000_000, 1_700_000_003_000,
    )  # fmt: skip
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("toy", ("ab" * 32)[:36])
    local = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (local / "figures/lds-toy.svg").read_text() == "<svg/>"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        *("configuration.json", "figures", "gallery.html", "metrics.json")
    }
    assert (local / "gallery.html").read_text() == "<p>gallery</p>"


def test_the_table_of_a_run_is_one_of_mlflow_and_is_replaced_with_the_run(uri):
    for value, done in ((0.5, "written"), (0.7, "updated")):
        rows = [{"metric": "lds", "value": value, "ci_low": 0.25, "ci_high": 0.75, "ceiling": None}]
        assert publish([record("trak", "k1", artifacts=Artifacts(table=rows))], uri) == {done: 1}
    client = MlflowClient(uri)
    (run,) = runs(uri)
    table = client.load_table(run.info.experiment_id, "metrics.json", [run.info.run_id])
    (row,) = table.to_dict("records")
    assert (row["metric"], row["ci_low"], row["ci_high"]) == ("lds", 0.25, 0.75)
    assert row["value"] == pytest.approx(0.7)


def test_the_view_of_a_setting_has_the_columns_of_its_metrics_best_first(uri):
    publish(RECORDS, uri)
    experiment = MlflowClient(uri).get_experiment_by_name("toy")
    view = json.loads(experiment.tags["mlflow.sharedViewState.leaderboard"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`lds`", False)
    assert view["selectedColumns"] == ["metrics.`lds`", "metrics.`lds_ci_low`", "metrics.`total_seconds`"]


def test_the_view_of_a_setting_without_lds_is_ordered_by_what_it_has():
    _, planted = view_tag({"shortcut_auprc", "shortcut_auprc_ci_low", "loo", "total_seconds", "unknown"})
    view = json.loads(planted)
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`shortcut_auprc`", False)
    names = ("shortcut_auprc", "shortcut_auprc_ci_low", "loo", "total_seconds")
    assert view["selectedColumns"] == [f"metrics.`{name}`" for name in names]
    _, nothing = view_tag({"total_seconds"})
    assert (json.loads(nothing)["orderByKey"], json.loads(nothing)["orderByAsc"]) == (
        "metrics.`total_seconds`",
        True,
    ), "the fastest first"


@pytest.mark.slow
def test_a_deleted_database_is_written_again_with_the_same_content(uri, tmp_path):
    publish([record("trak", "old"), RECORDS[1]], uri)
    publish(RECORDS, uri)
    before = everything_shown(uri)
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    publish(RECORDS, fresh)
    assert everything_shown(fresh) == before


def test_a_changed_method_replaces_its_run_and_the_old_run_can_be_restored(uri):
    publish(RECORDS, uri)
    changed = [record("trak", "k3", params={"damping": "0.3"}), RECORDS[1]]
    assert publish(changed, uri) == {"written": 1, "kept": 1, "superseded": 1}
    assert table(uri) == [("random", "k2", "current"), ("trak", "k3", "current")]
    assert table(uri, ViewType.DELETED_ONLY) == [("trak", "k1", "superseded")]
    assert publish(RECORDS, uri) == {"restored": 1, "kept": 1, "superseded": 1}
    assert table(uri) == CURRENT
    assert table(uri, ViewType.DELETED_ONLY) == [("trak", "k3", "superseded")]


def test_a_removed_method_is_hidden_and_can_be_restored(uri):
    publish(RECORDS, uri)
    assert publish(RECORDS[:1], uri) == {"kept": 1, "removed": 1}
    assert table(uri) == CURRENT[1:]
    assert table(uri, ViewType.DELETED_ONLY) == [("random", "k2", "removed")]
    assert publish(RECORDS, uri) == {"kept": 1, "restored": 1}
    assert table(uri) == CURRENT


def test_a_partial_run_does_not_touch_other_methods_and_settings(uri):
    publish([*RECORDS, record("trak", "k9", "other")], uri)
    assert publish([record("trak", "k3")], uri, complete=False) == {"written": 1, "superseded": 1}
    assert table(uri) == [("random", "k2", "current"), ("trak", "k3", "current")]
    assert len(runs(uri, setting="other")) == 1


def test_a_removed_setting_is_hidden_with_its_runs_and_can_be_restored(uri):
    both = [*RECORDS, record("trak", "k9", "other")]
    publish(both, uri)
    client = MlflowClient(uri)
    client.create_experiment("somebody else's")
    publish(RECORDS, uri)
    shown = {experiment.name for experiment in client.search_experiments()}
    assert shown == {"toy", "somebody else's", "Default"}
    publish(both, uri)
    assert {experiment.name for experiment in client.search_experiments()} == shown | {"other"}
    assert [run.data.tags["state"] for run in runs(uri, setting="other")] == ["current"]
    assert table(uri) == CURRENT


def test_results_recomputed_under_the_same_key_update_their_run(uri):
    """For example, another duration was measured, or a method was added to the figures of the setting."""
    publish(RECORDS, uri)
    again = [record("trak", "k1", metrics={"lds": 0.5, "lds_ci_low": 0.4, "total_seconds": 1.0}), RECORDS[1]]
    assert publish(again, uri) == {"updated": 1, "kept": 1}
    assert table(uri, ViewType.ALL) == CURRENT
    assert {run.info.run_name: run.data.metrics["total_seconds"] for run in runs(uri)} == {
        "trak": 1.0,
        "random": 3.0,
    }
    assert publish(again, uri) == {"kept": 2}


def test_runs_of_others_in_the_same_experiment_are_kept(uri):
    publish(RECORDS, uri)
    client = MlflowClient(uri)
    theirs = client.create_run(
        client.get_experiment_by_name("toy").experiment_id, tags={"key": "k1"}
    ).info.run_id
    publish(RECORDS[1:], uri)
    assert client.get_run(theirs).info.lifecycle_stage == "active"


def test_an_interrupted_run_is_incomplete_and_is_removed_later(uri, monkeypatch):
    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_dict", dies)
        with pytest.raises(KeyboardInterrupt):
            publish(RECORDS, uri)
    assert table(uri) == [("trak", None, "incomplete")]
    assert runs(uri)[0].info.status == "RUNNING"
    assert publish(RECORDS, uri) == {"written": 2, "incomplete": 1}
    assert table(uri) == CURRENT


def test_an_interrupted_update_is_finished_later(uri, monkeypatch):
    def dies(*_, **__):
        raise KeyboardInterrupt

    publish(RECORDS, uri)
    again = [record("trak", "k1", metrics={"lds": 0.5, "lds_ci_low": 0.4, "total_seconds": 1.0}), RECORDS[1]]
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_terminated", dies)
        with pytest.raises(KeyboardInterrupt):
            publish(again, uri)
    assert table(uri)[1] == ("trak", "k1", "incomplete")
    assert publish(again, uri) == {"updated": 1, "kept": 1}
    assert table(uri, ViewType.ALL) == CURRENT


def publish_in_many(count: int, uri: str) -> None:
    """Publish from ``count`` processes at once; all must succeed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store", tracking.__name__])
    processes = [context.Process(target=publish, args=(RECORDS, uri)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count


@pytest.mark.slow
def test_forty_publishers_at_once_create_one_database_with_all_runs(uri, tmp_path):
    (tmp_path / "mlflow.db").unlink()
    publish_in_many(40, uri)
    assert table(uri, ViewType.ALL) == CURRENT


@pytest.mark.slow
def test_a_locked_database_is_an_error_of_one_line(uri, tmp_path):
    publish(RECORDS[:1], uri)
    other = sqlite3.connect(tmp_path / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(UserError, match=r"^MLflow at sqlite:.*: .*database is locked$"):
            publish(RECORDS, uri)
    finally:
        other.close()
    assert table(uri) == CURRENT[1:]


def test_a_file_that_is_not_a_database_is_an_error_of_one_line(uri, tmp_path):
    (tmp_path / "mlflow.db").write_text("hello")
    with pytest.raises(UserError, match=r"^MLflow at sqlite:.*: .*file is not a database$"):
        publish(RECORDS, uri)


def test_an_unreachable_database_is_an_error_of_one_line_without_the_password():
    with pytest.raises(
        UserError, match=r"^MLflow at postgresql://me:…@127\.0\.0\.1:9/x: .*Connection refused$"
    ):
        publish(RECORDS, "postgresql://me:secret@127.0.0.1:9/x")


def test_a_missing_driver_is_named():
    with pytest.raises(UserError, match="needs the package 'pymysql'"):
        publish(RECORDS, "mysql+pymysql://127.0.0.1:9/x")


@pytest.fixture
def failing_server() -> Iterator[str]:
    """Server that answers every request with an error."""

    class Failing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(501)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_failing_server_is_an_error_of_one_line(failing_server):
    with pytest.raises(UserError, match=r"^MLflow at http://127\.0\.0\.1:\d+: .*501.*") as error:
        publish(RECORDS, failing_server)
    assert "\n" not in str(error.value)


def test_a_missing_server_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"^MLflow at http://127\.0\.0\.1:9: .*Connection refused"):
        publish(RECORDS, "http://127.0.0.1:9")
