"""Failures of a cluster: every run ends with the bytes of an undisturbed run, and repeats only the work that was lost."""

from __future__ import annotations

import signal

import pytest

from slurm.cluster import SHARDS, TRUTH, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

HIT, OTHER = SHARDS
"""The shard that a failure hits, and one that is left alone."""


@pytest.fixture(scope="module")
def expected(finished_here):
    return finished_here.bytes_of("toy/ground_truth/**/*.safetensors")


def both_begin(checkout):
    """Start the run whose shard 0 is held; return the run and the number of that job when shard 1 is done."""
    process = checkout.start(TRUTH)
    until(lambda: checkout.began(HIT), "the shard that is held begins")
    until(lambda: checkout.ended(OTHER), "the other one ends")
    return process, checkout.began(HIT)[0]


def begins_again(cluster, checkout):
    cluster.hurry()
    return len(checkout.began(HIT)) == 2


def ends_as_undisturbed(checkout, process, expected):
    checkout.finish(process)
    assert checkout.truth() == expected
    assert len(checkout.began(OTHER)) == 1, "work that was not hit is not repeated"


def test_a_job_on_a_node_that_dies_starts_again_on_another(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="hold")
    process, job = both_begin(untruthful)
    dead = cluster.node(job)
    cluster.kill_node(dead)
    until(lambda: begins_again(cluster, untruthful), "it begins again")
    untruthful.release()
    ends_as_undisturbed(untruthful, process, expected)
    assert untruthful.began(HIT) == [job, job], "once more, under its number"
    assert cluster.node(job) != dead
    assert [state for (state,) in cluster.history(job, "State")] == ["NODE_FAIL", "COMPLETED"]


def test_a_preempted_job_starts_again(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="hold")
    process, job = both_begin(untruthful)
    node = cluster.node(job)
    cluster.ask("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    until(lambda: begins_again(cluster, untruthful), "it begins again")
    untruthful.release()
    ends_as_undisturbed(untruthful, process, expected)
    assert untruthful.began(HIT) == [job, job], "once more, under its number"
    assert [state for (state,) in cluster.history(job, "State")] == ["PREEMPTED", "COMPLETED"]


def test_a_job_that_exceeds_its_memory_is_sent_again_with_more(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="memory")
    process = untruthful.start(TRUTH)
    ends_as_undisturbed(untruthful, process, expected)
    first, second = untruthful.began(HIT)
    (log,) = (untruthful.root / "logs/slurm").rglob(f"{first}.log")
    assert "exceeded memory limit" in log.read_text()
    assert "mem=1500M" in cluster.history(first, "ReqTRES")[0][0]
    assert "mem=3000M" in cluster.history(second, "ReqTRES")[0][0]


def test_a_job_that_exceeds_its_time_is_sent_again_with_more(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="hold")
    process, late = both_begin(untruthful)
    cluster.ask("scontrol", "update", f"jobid={late}", "EndTime=now+1seconds")
    until(
        lambda: cluster.state(late) == "TIMEOUT", "Slurm sees that the time is up, which it does every 30 s"
    )
    untruthful.release()
    ends_as_undisturbed(untruthful, process, expected)
    first, second = untruthful.began(HIT)
    assert first == late
    assert cluster.history(second, "State", "TimelimitRaw") == [["COMPLETED", "480"]], "twice the rule's"


def test_a_cancelled_job_is_sent_again(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="hold")
    process, job = both_begin(untruthful)
    cluster.ask("scancel", job)
    untruthful.release()
    ends_as_undisturbed(untruthful, process, expected)
    assert len(untruthful.began(HIT)) == 2


def test_jobs_outlast_an_accounting_and_a_controller_that_are_away(cluster, untruthful, expected):
    untruthful.fates(subsets_0000="hold")
    cluster.control("kill", "slurmdbd")
    process, job = both_begin(untruthful)
    cluster.control("stop", "slurmctld")
    untruthful.release()
    until(lambda: untruthful.is_made(HIT), "the job continues meanwhile")
    cluster.control("start", "slurmctld")
    ends_as_undisturbed(untruthful, process, expected)
    cluster.control("start", "slurmdbd")
    assert untruthful.began(HIT) == [job], "no job is taken for lost"


def test_a_controller_started_again_after_kill_9_waits_for_its_running_jobs(cluster, untruthful, expected):
    untruthful.fates(**{shard.replace("-", "_"): "hold" for shard in SHARDS})
    first = untruthful.start(TRUTH)
    until(lambda: all(untruthful.began(shard) for shard in SHARDS), "all shards begin")
    first.send_signal(signal.SIGKILL)
    first.wait()
    (waiting,) = untruthful.began(HIT)
    cluster.ask("scontrol", "requeuehold", waiting)
    until(lambda: cluster.state(waiting) == "PENDING", "one waits")

    second = untruthful.start(TRUTH)
    until(
        lambda: "waiting for running jobs of an earlier run" in untruthful.printed(),
        "it waits for them",
    )
    untruthful.release()
    untruthful.finish(second)
    assert "cancelled 1 waiting jobs of an earlier run" in untruthful.printed()
    assert untruthful.truth() == expected
    began = {shard: len(untruthful.began(shard)) for shard in SHARDS}
    assert began == {HIT: 2, OTHER: 1}, "work that continued is not repeated"
    assert not list((untruthful.root / "results").rglob(".*.lease.*"))
