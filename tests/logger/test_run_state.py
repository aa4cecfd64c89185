"""Estimates of the time left, and what earlier runs contribute to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snakemake_logger_plugin_proponent.display import status_text
from snakemake_logger_plugin_proponent.event_file import EventFile
from snakemake_logger_plugin_proponent.run_state import RunState, StartedJob, earlier_durations


def job(number: int, rule: str, started: float) -> StartedJob:
    return StartedJob(number, rule, {}, [], [f"results/{rule}-{number}"], [], started)


def test_nothing_is_predicted_without_a_measurement() -> None:
    state = RunState(cores=2)
    state.plan({"retrain": 3})
    assert state.seconds_left(0.0) is None
    assert status_text(state, 0.0) == "0 of 3 done, 0 running"


def test_the_time_left_counts_waiting_and_running_jobs_of_each_rule() -> None:
    state = RunState(cores=2)
    state.plan({"retrain": 4, "evaluate": 2})
    state.start(job(1, "retrain", 0.0))
    state.start(job(2, "retrain", 0.0))
    state.finish(1, 10.0)
    # One retraining has run for 4 of 10 s and two wait; evaluations are unknown, so they count like the mean of all jobs.
    assert state.seconds_left(4.0) == pytest.approx((6 + 2 * 10 + 2 * 10) / 2)
    assert status_text(state, 4.0) == "1 of 6 done, 1 running, about 23 s left"


def test_rules_without_a_finished_job_count_as_in_an_earlier_run() -> None:
    state = RunState(cores=1, earlier={"evaluate": 3.0})
    state.plan({"evaluate": 2})
    assert state.seconds_left(0.0) == pytest.approx(6.0)


def test_a_failed_job_that_starts_again_is_not_counted_as_failed() -> None:
    state = RunState()
    state.plan({"retrain": 1})
    state.start(job(1, "retrain", 0.0))
    state.fail(1)
    assert "1 failed" in status_text(state, 1.0)
    state.start(job(1, "retrain", 2.0))
    assert "failed" not in status_text(state, 3.0)


def test_durations_are_those_of_the_latest_run_that_finished_a_job_of_the_rule(tmp_path: Path) -> None:
    for start, seconds in ((1000.0, 5.0), (2000.0, 7.0)):
        events = EventFile(tmp_path)
        events.write("run", start, total_jobs=1)
        events.write("started", start, jobid=1, rule="retrain")
        events.write("finished", start + seconds, jobid=1, rule="retrain")
        events.close(start + seconds)
    assert earlier_durations(tmp_path) == {"retrain": 7.0}


def test_a_line_that_a_killed_run_left_incomplete_is_ignored(tmp_path: Path) -> None:
    complete = json.dumps({"event": "started", "time": 1.0, "jobid": 1, "rule": "retrain"})
    (tmp_path / "20260101T000000.000000Z-1.jsonl").write_text(f'{complete}\n{{"event": "fini')
    assert earlier_durations(tmp_path) == {}


def test_a_run_without_events_leaves_no_file(tmp_path: Path) -> None:
    EventFile(tmp_path).close(1.0)
    assert list(tmp_path.iterdir()) == []
