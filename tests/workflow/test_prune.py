"""`proponent prune`: results that the current configuration does not make are removed, and nothing else."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.slow


def test_nothing_is_removed_while_everything_is_configured(checkout):
    before = checkout.bytes_of("**/*")
    done = checkout.run_step("prune")
    assert done.returncode == 0, done.stdout
    assert "removed 0 files" in done.stdout
    assert checkout.bytes_of("**/*").keys() - {"results/.running"} == before.keys() - {"results/.running"}


def test_all_files_of_a_removed_method_are_removed(checkout):
    (checkout.root / "results/toy/scores/notes.txt").write_text("mine")
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    left = {path for path in checkout.bytes_of("**/*") if "trak" in path and "benchmarks" not in path}

    listed = checkout.run_step("prune", "--dry-run")
    assert "results/toy/scores/trak.safetensors" in listed.stdout
    assert left <= checkout.bytes_of("**/*").keys(), "a dry run removes nothing"

    done = checkout.run_step("prune")
    assert done.returncode == 0, done.stdout
    assert not left & checkout.bytes_of("**/*").keys()
    assert (checkout.root / "results/toy/scores/notes.txt").read_text() == "mine"
    assert checkout.planned() == {"collect": 1, "summary": 1, "figures": 1, "overview": 1}


def test_extra_members_are_removed_after_a_smaller_ensemble_was_trained(checkout):
    checkout.edit("configs/settings/toy.yaml", "members: 2", "members: 1")
    checkout.make_all()
    checkout.run_step("prune")
    assert not (checkout.root / "results/toy/ensemble/member-001").exists()
    assert checkout.run_step("verify").returncode == 0


def test_a_folder_outside_of_results_gives_one_line(checkout):
    done = checkout.run_step("prune", "src")
    assert done.returncode == 1
    assert "is not below" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_misspelt_folder_gives_one_line(checkout):
    done = checkout.run_step("prune", "results/toi")
    assert done.returncode == 1
    assert "results/toi: no such folder" in done.stdout


def test_old_partial_files_of_killed_jobs_are_removed(checkout):
    scores = checkout.root / "results/toy/scores"
    shards = checkout.root / "results/toy/ground_truth/shards"
    old = [
        scores / ".trak.safetensors.4711.tmp",
        scores / ".gone.safetensors.lease.000001",
        shards / ".subsets-0009.safetensors.partial",
        shards / ".subsets-0009.safetensors.work/model-1/out/final.safetensors",
    ]
    left = [
        shards / ".subsets-0001.safetensors.partial",  # the shard goes on from it
        shards / ".subsets-0001.safetensors.work/model-1/out/final.safetensors",
    ]
    young = scores / ".graddot.safetensors.4712.tmp"
    for path in (*old, *left, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    for path in (*old, *left):
        os.utime(path, (1e9, 1e9))
    assert "removed 4 files" in checkout.run_step("prune").stdout
    assert not any(path.exists() for path in (*old, old[-1].parents[2]))
    assert all(path.exists() for path in (*left, young))
