"""`proponent plan` and `proponent status`: what they say of runs that wait, fail, go on and are done."""

from __future__ import annotations

import datetime
import fcntl
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from proponent.inspection.forecast import Cost, History, Resources
from proponent.inspection.formatting import duration, size
from proponent.inspection.snakemake_log import Attempt, holder, last_words, queue, read_log
from proponent.inspection.status import Status
from proponent.inspection.submissions import LOCAL, read_profile
from workflow.test_forecast import Job

LOG = """\
[Tue Nov 24 11:11:22 2026]
localrule data:
    input: results/toy/keys/data/train.safetensors.json
    output: results/toy/data/train.safetensors, results/toy/data/query.safetensors
    log: logs/toy/data.log
    jobid: 3
    reason: Missing output files: results/toy/data/train.safetensors
    wildcards: setting=toy
[Tue Nov 24 11:11:25 2026]
Finished jobid: 3 (Rule: data)
1 of 19 steps (5%) done
[Tue Nov 24 11:11:26 2026]
rule retrain:
    output: results/toy/ground_truth/shards/loo-0000.safetensors
    log: logs/toy/retrain-loo-0000.log
    jobid: 8
Job 8 has been submitted with SLURM jobid 4711 (log: logs/slurm/rule_retrain/4711.log).
[Tue Nov 24 11:11:26 2026]
rule trak:
    output: results/toy/scores/trak.safetensors
    log: logs/toy/attribute-trak.log
    jobid: 15
[Tue Nov 24 11:11:30 2026]
Error in rule trak:
    message: None
    jobid: 15
    output: results/toy/scores/trak.safetensors
    log: logs/toy/attribute-trak.log (check log file(s) for error details)
    shell:
        proponent attribute results/toy/keys/scores/trak.safetensors.json
"""


def test_the_log_of_snakemake_tells_what_was_started_sent_and_failed():
    done, sent, failed = read_log(LOG.splitlines())
    assert (done.rule, done.state) == ("data", "done")
    assert done.outputs == ("results/toy/data/train.safetensors", "results/toy/data/query.safetensors")
    assert (sent.state, sent.scheduler_id) == ("running", "4711")
    assert sent.started == datetime.datetime(2026, 11, 24, 11, 11, 26)
    assert (failed.state, failed.log) == ("failed", "logs/toy/attribute-trak.log")


def test_a_job_that_is_sent_again_runs_again():
    again = LOG + LOG[LOG.index("rule trak") : LOG.index("[Tue Nov 24 11:11:30")]
    assert [attempt.state for attempt in read_log(again.splitlines())] == ["done", "running", "running"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\nc\nd\n", ["b", "c", "d"]),
        ("start\nstep 1\rstep 2\rstep 3\n", ["step 1", "step 2", "step 3"]),
        ("start\nerror: lower recipe.lr\nmore\n", ["error: lower recipe.lr"]),
    ],
)
def test_the_last_words_of_a_log_say_what_was_wrong(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert last_words(tmp_path / "log") == expected
    assert last_words(tmp_path / "none") == []


def test_who_holds_a_checkout_is_seen_without_waiting(tmp_path):
    (tmp_path / "results").mkdir()
    assert holder(tmp_path) is None
    path = tmp_path / "results/.running"
    path.write_text("process 7")
    assert holder(tmp_path) is None, "nobody holds it any more"
    with path.open("r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert holder(tmp_path) == "process 7"


@dataclass
class Left:
    """What is left of a run: `b` and `c` are made from `a`, `d` from `c`."""

    left: list[Job]
    running: dict[str, Attempt]
    failed: dict[str, Attempt]

    def seconds(self, alive: bool, at_a_time: int) -> float:
        history = History({job.path: Cost(100, 1, 1, "same job") for job in self.left})
        status = Status(self.left, self.left, self.running, self.failed, history, alive, at_a_time)
        return status.seconds_left(datetime.datetime(2026, 11, 24, 12))


def test_the_time_left_is_that_of_the_cores_and_of_what_can_still_be_made():
    attempt = Attempt("x", started=datetime.datetime(2026, 11, 24, 11, 59, 30))
    jobs = [Job("a"), Job("b"), Job("c"), Job("d", ("c",))]
    between = Left(jobs, {}, {})
    assert between.seconds(alive=True, at_a_time=4) == 200, "c, then d"
    assert between.seconds(alive=True, at_a_time=1) == 400, "also when none runs just now"
    assert between.seconds(alive=False, at_a_time=4) == 400, "work, where nobody does any"
    one_runs = Left(jobs, {"a": attempt}, {})
    assert one_runs.seconds(alive=True, at_a_time=1) == 370
    assert one_runs.seconds(alive=True, at_a_time=2) == 200
    lost = Left(jobs, {"a": attempt}, {"c": attempt})
    assert lost.seconds(alive=True, at_a_time=1) == 170, "this run makes no d"


def program(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / "squeue"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_queue_is_that_of_slurm_if_it_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    program(tmp_path / "bin", "echo '4711|RUNNING|node1'; echo '4712|PENDING|(Resources)'")
    found = queue()
    assert {number: (job.state, job.reason) for number, job in found.items()} == {
        "4711": ("RUNNING", "node1"),
        "4712": ("PENDING", "(Resources)"),
    }
    program(tmp_path / "bin", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert queue() is None


def test_the_slurm_profile_sends_jobs_where_they_fit():
    profile = read_profile(Path(__file__).parents[2], "slurm")
    assert profile.place_of("retrain", Resources(1, 4000, 240, 0)) == "cpu"
    assert profile.place_of("retrain", Resources(1, 4000, 240, 1)) == "gpu"
    assert profile.place_of("summary", Resources(1, 4000, 10, 0, local=True)) == LOCAL
    assert profile.submissions([(10, Resources(local=True)), (10, Resources())]) == {None: 10}
    methods = [(count, Resources(group="methods")) for count in (3, 1, 1)]
    assert profile.submissions(methods) == {"methods": 2}, "of whatever rules they are"
    assert profile.submission_seconds(60) > 0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.44, "0.4 s"), (60, "60 s"), (300, "5.0 min"), (7200, "2.0 h"), (1e6, "12 days")],
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
    assert "21 jobs" not in done.stdout  # rule all makes nothing
    assert "20 jobs" in done.stdout
    assert "estimated" in done.stdout
    assert fresh.planned()["retrain"] == 4
    sent = fresh.run_step("plan", "--profile", "slurm").stdout
    assert "4 methods in one submission: 1\n" in sent, "three methods"
    assert "8 submissions" in sent, "data, members, features and four shards one by one; the rest runs here"

    assert "nothing to do: " in checkout.run_step("plan").stdout
    (checkout.root / "results/toy/scores/trak.safetensors").unlink()
    planned = checkout.run_step("plan", "--profile", "slurm").stdout
    assert sum(checkout.planned().values()) == 6
    assert "6 jobs; 19 artefacts are current" in planned
    assert "estimated" not in planned, "every job was measured"
    assert " cpu " in planned
    assert "submissions" in planned

    narrowed = checkout.run_step("plan", "methods=[random]").stdout
    assert "trak" not in narrowed
    wrong = checkout.run_step("plan", "--profile", "slrum")
    assert wrong.returncode == 1
    assert wrong.stdout.strip() == "error: no profile 'slrum' in profiles/; did you mean 'slurm'?"


@pytest.mark.slow
def test_status_of_a_run_that_fails_goes_on_and_is_done(checkout):
    assert "20 of 20 done: all is current" in checkout.run_step("status").stdout
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
    assert "waiting (5 of them for what failed)" in done.stdout, "its metrics and what collects them"
    assert "nothing is running: `snakemake` goes on" in done.stdout

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
    assert run.wait(timeout=120) == 0
    assert "1 running, 0 failed" in printed
    assert f"process {run.pid}" in printed
    assert " left, until " in printed
    assert "all is current" in checkout.run_step("status").stdout
