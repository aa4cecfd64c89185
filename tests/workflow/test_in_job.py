"""What a job on a cluster does before its work: a Snakemake of its own reads the Snakefile, and plans nothing else."""

from __future__ import annotations

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.plan.artefact_paths import key_path
from proponent.plan.run_plan import Plan
from proponent.store.files import read_json

SHARD = "results/toy/ground_truth/shards/loo-0000.safetensors"


def as_the_executor_does(job: str) -> list[str]:
    rule = job.partition(":")[0]
    return ["--mode", "remote", "--target-jobs", job, "--allowed-rules", rule, "--nolock", "--force"]


@pytest.mark.slow
def test_a_job_asks_its_key_file_and_says_the_same_as_the_whole_plan(checkout):
    benchmark = load_benchmark(checkout.root, {})
    whole, own = Plan(benchmark), Plan(benchmark, in_job=True)
    assert not own.graph.nodes, "nothing was planned"
    assert own.targets() == whole.targets()
    assert own.metrics_files() == whole.metrics_files()
    assert own.left_out == whole.left_out
    for path in whole.graph.nodes:
        assert own.key_file(path) == whole.key_file(path)
        assert own.inputs(path) == whole.inputs(path)


@pytest.mark.slow
def test_a_job_runs_as_an_executor_starts_it(fresh):
    fresh.snakemake("results/toy/data/train.safetensors")
    job = as_the_executor_does("retrain:setting=toy,design=loo,shard=0000")
    key = read_json(fresh.root / key_path(SHARD))
    fresh.snakemake(*job)
    assert (fresh.root / SHARD).exists()
    assert read_json(fresh.root / key_path(SHARD)) == key, "a job touches nothing but its artefact"

    (fresh.root / key_path(SHARD)).unlink()
    failed = fresh.snakemake(*job, check=False)
    assert failed.returncode
    assert f"{key_path(SHARD)}: cannot be read as JSON" in failed.stdout
