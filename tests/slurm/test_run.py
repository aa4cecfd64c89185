"""`snakemake --profile slurm` on a real Slurm: the whole chain, and the devices that jobs see."""

from __future__ import annotations

import csv

import pytest

from slurm.cluster import SHARDS

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

GPU_RULES = {"check", "train", "retrain", "featurize", "methods"}


def rule_of(log: str) -> str:
    return log.split("rule_")[-1].split("group_")[-1].split("/")[0].split("_")[0]


def leaderboard(checkout):
    """Return the columns of quality; the columns after them are costs, which differ between runs."""
    with (checkout.root / "results/leaderboard.csv").open() as stream:
        return [row[:7] for row in csv.reader(stream)]


def test_the_whole_chain_ends_with_the_bytes_of_a_local_run(cluster, finished_here, fresh):
    fresh.snakemake()
    assert fresh.tensors() == finished_here.tensors()
    for method in ("random", "graddot", "trak"):
        assert fresh.metrics(method) == finished_here.metrics(method)
    assert leaderboard(fresh) == leaderboard(finished_here)
    assert fresh.planned() == {}

    rows = cluster.jobs(fresh, "SubmitLine", "Partition", "State", "ReqTRES")
    partitions = {rule_of(line.split("--output ")[1].split()[0]): where for line, where, _, _ in rows}
    assert partitions == {"data": "cpu", **dict.fromkeys(GPU_RULES, "gpu")}, "the rest runs here"
    for _, where, state, asked in rows:
        assert state == "COMPLETED"
        assert ("gres/gpu=1" in asked) == (where == "gpu")
    assert sum("/group_methods" in line for line, *_ in rows) == 3, "each method has a job of its own"
    for log in (fresh.root / "logs/toy").glob("retrain-*.log"):
        assert "no GPU was found; CUDA_VISIBLE_DEVICES is " in log.read_text()
        assert log.read_text().split("CUDA_VISIBLE_DEVICES is ")[1][0] in "0123", "one device, the job's own"
        assert "," not in log.read_text().split("CUDA_VISIBLE_DEVICES is ")[1].splitlines()[0]


def test_a_job_with_the_device_cuda_fails_without_a_gpu(untruthful):
    untruthful.edit("params.yaml", "device: auto", "device: cuda")
    shard = f"results/toy/ground_truth/shards/{SHARDS[0]}.safetensors"
    done = untruthful.snakemake(shard, "--retries", "0", check=False)
    assert done.returncode != 0
    refused = "compute.device is 'cuda', but no GPU is visible to this job (CUDA_VISIBLE_DEVICES is "
    assert f"results/toy/check.json: {refused}" in done.stdout, (
        "the check is the first job that uses the device"
    )
    assert not (untruthful.root / shard).exists()
