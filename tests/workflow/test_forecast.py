"""Forecast of a run: its jobs, the origin of their costs, and the longest chain."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from proponent.config.specifications.all_specs import SPECS
from proponent.inspection.closure import closure
from proponent.inspection.forecast import (
    ESTIMATES,
    START_SECONDS,
    Cost,
    History,
    Resources,
    forecast,
    submissions,
    to_run,
)
from proponent.plan.local_jobs import job_memory_mb


@dataclass
class Job:
    """The attributes of a node that forecasts and the status read."""

    path: str
    inputs: tuple[str, ...] = ()
    step: str = "data"
    content: dict[str, Any] = field(default_factory=lambda: {"setting": "s"})
    after: tuple[str, ...] = ()


@dataclass
class Chain:
    """The attributes of a graph that forecasts read."""

    nodes: dict[str, Job]


def chain(*jobs: Job) -> Chain:
    return Chain({job.path: job for job in jobs})


#    data -> model -> scores -> table;  data -> truth -> table;  model -> unasked
GRAPH = chain(
    Job("data"),
    Job("model", ("data",)),
    Job("truth", ("data",)),
    Job("scores", ("model",)),
    Job("unasked", ("model",)),
    Job("table", ("scores", "truth")),
)
ALL = {"data", "model", "truth", "scores", "unasked", "table"}


def test_a_closure_has_each_reachable_name_once_depth_first():
    def inputs_of(name: str) -> tuple[str, ...]:
        return GRAPH.nodes[name].inputs

    assert closure(["table"], inputs_of) == ["table", "scores", "model", "data", "truth"]
    assert closure(["model", "scores"], inputs_of) == ["model", "data", "scores"]
    assert closure([], inputs_of) == []


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (ALL, []),
        (set(), ["data", "model", "truth", "scores", "table"]),
        (ALL - {"unasked"}, []),
        (ALL - {"table"}, ["table"]),
        # Missing artefacts are made, and everything downstream is made again.
        (ALL - {"scores"}, ["scores", "table"]),
        (ALL - {"model"}, ["model", "scores", "table"]),
        (ALL - {"data", "truth"}, ["data", "model", "truth", "scores", "table"]),
    ],
)
def test_the_forecast_has_the_jobs_that_snakemake_starts(current, expected):
    assert [job.path for job in to_run(GRAPH, ["table"], current)] == expected


def retrain(path: str, setting: str, first: int, stop: int) -> Job:
    return Job(path, (), "retrain", {"setting": setting, "runs": [first, stop]})


def test_a_cost_comes_from_the_nearest_job_that_was_measured():
    history = History()
    shard = retrain("b", "mine", 10, 25)
    start, estimate = START_SECONDS, ESTIMATES["retrain"]
    assert history.cost(shard) == estimate._replace(
        seconds=start + estimate.seconds * 15, bytes=estimate.bytes * 15, basis="estimate"
    )
    history.add(retrain("x", "other", 0, 10), Cost(start + 100, 300, 1000))
    assert history.cost(shard) == Cost(start + 150, 300, 1500, "other settings")
    history.add(retrain("a", "mine", 0, 10), Cost(start + 20, 200, 500))
    history.add(retrain("c", "mine", 25, 35), Cost(start + 40, 250, 500))
    assert history.cost(shard) == Cost(start + 45, 250, 750, "same setting")
    history.add(shard, Cost(31, 220, 760))
    assert history.cost(shard) == Cost(31, 220, 760, "same job")


def test_a_small_shard_has_little_weight_in_the_cost_of_a_large_one():
    """Jobs of 2 and of 50 retrainings take 7 s each, because most of that is the start of a job."""
    history = History()
    history.add(retrain("last", "mine", 100, 102), Cost(7, 200, 200))
    history.add(retrain("first", "mine", 0, 50), Cost(7, 200, 5000))
    expected = history.cost(retrain("second", "mine", 50, 100))
    assert expected.seconds == pytest.approx(START_SECONDS + 50 * 8 / 52)
    assert expected.bytes == pytest.approx(5000)


def test_scores_are_equally_large_for_ten_members_and_for_one():
    def trak(path: str, setting: str, members: int) -> Job:
        return Job(path, (), "attribute", {"setting": setting, "method": "trak", "members": members})

    history = History()
    assert history.cost(trak("a", "s", 10)).bytes == ESTIMATES["attribute"].bytes
    history.add(trak("a", "s", 10), Cost(43, 300, 1000))
    assert history.cost(trak("b", "t", 5)) == Cost(23, 300, 1000, "other settings")


def test_costs_of_one_method_are_not_used_for_another():
    history = History()
    history.add(Job("a", (), "attribute", {"setting": "s", "method": "trak", "members": 1}), Cost(9, 9, 9))
    job = Job("b", (), "attribute", {"setting": "s", "method": "ekfac", "members": 1})
    assert history.cost(job).basis == "estimate"


def test_hours_add_up_and_no_run_is_faster_than_the_longest_chain():
    seconds = {"data": 1.0, "model": 10.0, "truth": 3600.0, "scores": 2.0, "table": 1.0}
    jobs = to_run(GRAPH, ["table"], set())
    total = forecast(
        jobs,
        0,
        lambda job: Cost(seconds[job.path], 100 * seconds[job.path], 7, "same job"),
        lambda job: "gpu" if job.path in ("model", "truth") else "cpu",
        {"gpu": Resources(threads=2, gpu=1), "cpu": Resources()},
    )
    rules = {rule.rule: rule for rule in total.rules}
    assert total.jobs == 5
    assert rules["gpu"].gpu_hours == pytest.approx(3610 / 3600)
    assert rules["gpu"].cpu_hours == pytest.approx(2 * 3610 / 3600)
    assert rules["cpu"].gpu_hours == 0
    assert rules["gpu"].memory_mib == 360_000
    assert rules["cpu"].bytes == 21
    assert total.longest == 3602
    assert total.wall_seconds(1) == 3614
    assert total.wall_seconds(1000) == 3602


@pytest.mark.parametrize(("jobs", "together", "expected"), [(0, 4, 0), (8, 4, 2), (9, 4, 3), (9, 1, 9)])
def test_tasks_share_submissions(jobs, together, expected):
    assert submissions(jobs, together) == expected


@pytest.mark.slow
def test_no_job_of_a_run_takes_more_memory_than_its_rule_declares(finished_run):
    paths = sorted((finished_run.root / "results").rglob("*.manifest.json"))
    peaks = {path: json.loads(path.read_text())["peak_memory_mib"] for path in paths}
    assert max(peaks.values()) > 100, "manifests record peaks; that of a part of an artefact is 0"
    for path, peak in peaks.items():
        assert peak <= job_memory_mb(500), path  # compute.memory_mib of the checkout


def test_every_step_has_an_estimate():
    assert set(ESTIMATES) == set(SPECS)
