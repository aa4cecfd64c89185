"""`proponent plan` and `proponent status`: reports on runs that wait, fail, continue and are finished."""

from __future__ import annotations

import datetime
import json
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proponent.errors import UserError
from proponent.formatting import duration, size
from proponent.inspection.forecast import Cost, History, Resources
from proponent.inspection.run_events import Attempt, Run, last_run, read_events
from proponent.inspection.status import Status
from proponent.inspection.submissions import LOCAL, Profile, read_profile
from proponent.plan.controller import controller_process, hold_checkout
from proponent.slurm import SlurmJob, SlurmUnknownError, live_jobs
from proponent.store.job_log import log_tail
from workflow.test_forecast import Job

SCORES = "results/toy/scores/trak.safetensors"
SHARD = "results/toy/ground_truth/shards/loo-0000.safetensors"
DATA = ["results/toy/data/train.safetensors", "results/toy/data/query.safetensors"]


def event(kind: str, **fields: object) -> str:
    return json.dumps({"event": kind, "time": 1795520000.0, **fields}) + "\n"


RETRAIN = {"jobid": 8, "rule": "retrain", "output": [SHARD], "log": ["logs/toy/retrain-loo-0000.log"]}
TRAK = {"jobid": 15, "rule": "trak", "output": [SCORES], "log": ["logs/toy/attribute-trak.log"]}
EVENTS = [
    event("run", pid=7, cores=4, total_jobs=19),
    event("started", jobid=3, rule="data", output=DATA, log=["logs/toy/data.log"]),
    event("finished", jobid=3, rule="data", output=DATA, log=["logs/toy/data.log"], done=1, total=19),
    event("started", **RETRAIN),
    event("submitted", **RETRAIN, external_jobid="4711"),
    event("started", **TRAK),
    event("error", **TRAK, message=None),
]


def test_events_tell_which_jobs_were_started_submitted_and_failed():
    run = read_events(EVENTS)
    done, sent, failed = run.attempts
    assert run.cores == 4
    assert (done.rule, done.state, done.outputs) == ("data", "done", tuple(DATA))
    assert (sent.state, sent.scheduler_id) == ("running", "4711")
    assert sent.started == datetime.datetime.fromtimestamp(1795520000)
    assert (failed.state, failed.log) == ("failed", "logs/toy/attribute-trak.log")


def test_a_job_that_is_started_again_is_running():
    run = read_events([*EVENTS, event("started", **TRAK)])
    assert [attempt.state for attempt in run.attempts] == ["done", "running", "running"]


def test_a_line_that_is_cut_short_and_unknown_events_are_ignored():
    lines = [*EVENTS, event("progress", done=1), "[1]\n", event("finished", **RETRAIN)[:-9]]
    assert read_events(lines) == read_events(EVENTS)


def test_the_last_run_is_the_newest_one_that_started_a_job(tmp_path):
    assert last_run(tmp_path) == Run()
    folder = tmp_path / ".snakemake/proponent"
    folder.mkdir(parents=True)
    (folder / "20261124T111122-7.jsonl").write_text("".join(EVENTS))
    (folder / "20261124T121122-8.jsonl").write_text(event("run", pid=8, cores=2, total_jobs=0))
    assert last_run(tmp_path) == read_events(EVENTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\nc\nd\n", ["b", "c", "d"]),
        ("start\nstep 1\rstep 2\rstep 3\n", ["start", "step 3"]),
        ("a\nTraceback (most recent call last):\n  in f\nKeyError: 0\nb\n", ["KeyError: 0"]),
        ("start\nerror: lower recipe.lr\nmore\n", ["error: lower recipe.lr"]),
    ],
)
def test_the_tail_of_a_log_shows_the_error(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert log_tail(tmp_path / "log") == expected
    assert log_tail(tmp_path / "none") == []


HOLD = """
import sys, time
from pathlib import Path
from proponent.plan.controller import hold_checkout
print(hold_checkout(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def test_the_process_that_holds_a_checkout_is_named_until_it_is_killed(tmp_path):
    assert controller_process(tmp_path) is None
    (tmp_path / "results").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert controller_process(tmp_path) == f"process {process.pid}"
        assert not hold_checkout(tmp_path, wait=False), "as a dry run does during a run"
        assert controller_process(tmp_path) == f"process {process.pid}", "the attempt did not erase the name"
        process.kill()
    assert controller_process(tmp_path) is None
    assert (tmp_path / "results/.running").exists(), "the kernel released the lock, the file stays"


def test_two_processes_may_look_at_a_free_checkout_at_once(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/.running").write_text("process 7")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(controller_process, [tmp_path] * 64)) == {None}


@dataclass
class Left:
    """A run with jobs left; `d` is made from `c`."""

    left: list[Job]
    running: dict[str, Attempt]
    failed: dict[str, Attempt]

    def seconds(self, alive: bool, at_a_time: int) -> float:
        history = History({job.path: Cost(100, 1, 1, "same job") for job in self.left})
        status = Status(self.left, self.left, self.running, self.failed, history, alive, at_a_time)
        return status.seconds_left(datetime.datetime(2026, 11, 24, 12))


def test_the_time_left_depends_on_cores_and_on_what_can_still_be_made():
    attempt = Attempt("x", started=datetime.datetime(2026, 11, 24, 11, 59, 30))
    jobs = [Job("a"), Job("b"), Job("c"), Job("d", ("c",))]
    between = Left(jobs, {}, {})
    assert between.seconds(alive=True, at_a_time=4) == 200, "c, then d"
    assert between.seconds(alive=True, at_a_time=1) == 400, "even if no job runs at this instant"
    assert between.seconds(alive=False, at_a_time=4) == 400, "the total of the work, without a run"
    one_runs = Left(jobs, {"a": attempt}, {})
    assert one_runs.seconds(alive=True, at_a_time=1) == 370
    assert one_runs.seconds(alive=True, at_a_time=2) == 200
    lost = Left(jobs, {"a": attempt}, {"c": attempt})
    assert lost.seconds(alive=True, at_a_time=1) == 170, "this run does not make d"


def program(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / "squeue"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


QUEUE = """\
4711\ta-run\tRUNNING\t/work\tnode1\trule_retrain
4712\ta-run\tPENDING\t/work\t(Resources)\t
4713\ta-run\tFAILED\t/work\t\t
"""


def test_the_queue_of_slurm_has_states_reasons_and_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "queue").write_text(QUEUE)
    program(tmp_path / "bin", f"cat {tmp_path}/queue")
    assert live_jobs() == [
        SlurmJob("4711", "a-run", "RUNNING", Path("/work"), "node1", "rule_retrain"),
        SlurmJob("4712", "a-run", "PENDING", Path("/work"), "(Resources)", ""),
    ]
    program(tmp_path / "bin", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmUnknownError, match="Unable to contact"):
        live_jobs()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SlurmUnknownError, match="squeue is not installed"):
        live_jobs()


def test_the_slurm_profile_submits_jobs_to_partitions_into_which_they_fit():
    profile = read_profile(Path(__file__).parents[2], "slurm")
    assert profile.place_of("retrain", Resources(1, 4000, 240, 0)) == "cpu"
    assert profile.place_of("retrain", Resources(1, 4000, 240, 1)) == "gpu"
    assert profile.place_of("summary", Resources(1, 4000, 10, 0, local=True)) == LOCAL
    assert profile.submissions([(10, Resources(local=True)), (10, Resources())]) == {None: 10}
    methods = [(count, Resources(group="methods")) for count in (3, 1, 1)]
    assert profile.submissions(methods) == {"methods": 5}, "a failure costs itself alone"
    together = replace(profile, together={"methods": 4})
    assert together.submissions(methods) == {"methods": 2}, "whichever rules they belong to"
    assert profile.submission_seconds(60) > 0


def with_rate(root: Path, rate: str) -> Profile:
    path = root / "profiles/mine/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"executor: slurm\nmax-jobs-per-timespan: {rate}\n")
    return read_profile(root, "mine")


@pytest.mark.parametrize(("rate", "seconds"), [("10/10s", 60), ("100/1d", 60 * 864), ("5/1m", 720)])
def test_submissions_take_the_time_that_the_rate_of_the_profile_allows(tmp_path, rate, seconds):
    assert with_rate(tmp_path, rate).submission_seconds(60) == pytest.approx(seconds)


def test_a_malformed_rate_is_one_line(tmp_path):
    message = r"profiles/mine/config\.yaml: max-jobs-per-timespan: 'often' is not a rate"
    with pytest.raises(UserError, match=message):
        with_rate(tmp_path, "often")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0.0123, "0.012 s"), (0.44, "0.44 s"), (9.96, "10 s"), (60, "60 s"), (119.4, "119 s")),
        *((200, "3 min 20 s"), (1500, "25 min"), (7200, "2.0 h"), (18720, "5.2 h"), (1e5, "28 h")),
        *((2e5, "2.3 days"), (1e6, "12 days")),
    ],
)
def test_times_are_readable(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(12, "12 B"), (2048, "2.0 KiB"), (5e9, "4.7 GiB"), (2e18, "1776.4 PiB")]
)
def test_sizes_are_readable(count, expected):
    assert size(count) == expected


@pytest.mark.slow
def test_plan_before_and_after_a_run(checkout, fresh):
    done = fresh.run_step("plan")
    assert done.returncode == 0, done.stdout
    assert "22 jobs" not in done.stdout, "rule all makes no artefact"
    assert "21 jobs" in done.stdout
    assert "estimated" in done.stdout
    assert fresh.planned()["retrain"] == 4
    sent = fresh.run_step("plan", "--profile", "slurm").stdout
    assert "11 submissions" in sent, (
        "data, check, members, features and four shards one by one; the rest runs locally"
    )

    assert "nothing to do: " in checkout.run_step("plan").stdout
    (checkout.root / "results/toy/scores/trak.safetensors").unlink()
    planned = checkout.run_step("plan", "--profile", "slurm").stdout
    assert sum(checkout.planned().values()) == 6
    assert "6 jobs; 20 artefacts are current" in planned
    assert "estimated" not in planned, "every job was measured"
    assert " cpu " in planned
    assert "submissions" in planned

    narrowed = checkout.run_step("plan", "methods=[random]").stdout
    assert "trak" not in narrowed
    wrong = checkout.run_step("plan", "--profile", "slrum")
    assert wrong.returncode == 1
    assert wrong.stdout.strip() == "error: no profile 'slrum' in profiles/; did you mean 'slurm'?"


@pytest.mark.slow
def test_status_of_a_run_that_fails_continues_and_is_finished(checkout):
    assert "21 of 21 done: everything is current" in checkout.run_step("status").stdout
    module = "src/proponent/methods/gradient_similarity/graddot.py"
    line = "    pair = gradients.at(checkpoint)\n    inner"
    checkout.edit(module, line, "    raise ValueError('no such luck')\n    inner")
    checkout.snakemake(check=False)
    done = checkout.run_step("status")
    assert done.returncode == 0
    assert (
        "results/toy/scores/graddot.safetensors  (rule graddot, logs/toy/attribute-graddot.log)"
        in done.stdout
    )
    assert "no such luck" in done.stdout
    assert "0 running, 1 failed" in done.stdout
    assert "waiting (5 of them for failed jobs)" in done.stdout, "its metrics and the steps that collect them"
    assert "    refused: configs/methods/graddot.yaml with " in done.stdout
    assert "Traceback" in (checkout.root / "logs/toy/attribute-graddot.log").read_text(), "it may be a bug"
    assert "left_out: {graddot: REASON} in configs/settings/toy.yaml" in done.stdout
    assert "nothing is running: `snakemake` only tries the failed jobs again" in done.stdout

    checkout.edit(
        module, "    raise ValueError('no such luck')\n    inner", f"    __import__('time').sleep(1)\n{line}"
    )
    run = subprocess.Popen(
        checkout.command(),
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    deadline, printed = time.monotonic() + 60, ""
    while "1 running" not in printed and time.monotonic() < deadline:
        printed = checkout.run_step("status").stdout
    assert run.wait(timeout=600) == 0
    assert "1 running, 0 failed" in printed
    assert f"process {run.pid}" in printed
    assert " left, until " in printed
    assert "everything is current" in checkout.run_step("status").stdout
