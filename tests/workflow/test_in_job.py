"""The start of a job on a cluster: an inner Snakemake reads the Snakefile without planning the whole benchmark."""

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
def test_a_plan_inside_a_job_reads_key_files_and_agrees_with_the_whole_plan(checkout):
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
def test_a_job_runs_with_the_command_of_an_executor(fresh):
    fresh.snakemake("results/toy/data/train.safetensors")
    job = as_the_executor_does("retrain:setting=toy,design=loo,shard=0000")
    key = read_json(fresh.root / key_path(SHARD))
    fresh.snakemake(*job)
    assert (fresh.root / SHARD).exists()
    assert read_json(fresh.root / key_path(SHARD)) == key, "a job changes nothing except its artefact"

    (fresh.root / key_path(SHARD)).unlink()
    failed = fresh.snakemake(*job, check=False)
    assert failed.returncode
    assert f"{key_path(SHARD)}: cannot be read as JSON" in failed.stdout
