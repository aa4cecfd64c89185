"""The seven laws of "never stale, never lost" with real clones, pulls and checkouts (DESIGN 5).

Each counts the jobs that Snakemake would start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
import yaml

from versioning.conftest import Versioned

pytestmark = pytest.mark.slow

COLLECTION = {"collect": 1, "summary": 1, "figures": 1, "overview": 1}


def versioned_files(repository: Versioned) -> set[str]:
    """Return what DVC versions in the workspace's dvc.lock, directories opened."""
    return set(repository.dvc("list", ".", "-R", "--dvc-only").split())


def test_1_after_clone_and_pull_there_is_nothing_to_do(pulled, origin):
    assert pulled.planned() == {}
    assert "up to date" in pulled.dvc("status")
    assert pulled.run("proponent", "verify").stdout.splitlines()[-1].startswith("whole: ")
    assert pulled.tensors() == origin.tensors()
    assert (pulled.root / "results/leaderboard.csv").read_bytes() == (
        origin.root / "results/leaderboard.csv"
    ).read_bytes()


def test_2_a_changed_hyper_parameter_or_method_source_runs_that_method_alone(pulled):
    pulled.edit(
        "params.yaml",
        "methods: [",
        "overrides: {methods: {graddot: {params: {normalise: true}}}}\nmethods: [",
    )
    assert pulled.planned() == {"graddot": 1, "evaluate": 1, **COLLECTION}
    pulled.git("checkout", "-q", "params.yaml")
    with (pulled.root / "src/proponent/methods/trak/trak.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    assert pulled.planned() == {"trak": 1, "evaluate": 1, **COLLECTION}


def test_3_a_changed_recipe_trainer_or_dataset_runs_what_is_downstream(pulled):
    pulled.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    planned = pulled.planned()
    assert "data" not in planned and "noise" not in planned
    assert (planned["train"], planned["retrain"], planned["evaluate"]) == (1, 4, 3)
    pulled.git("checkout", "-q", "configs")
    with (pulled.root / "src/proponent/training/recipe.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    assert pulled.planned() == planned
    pulled.git("checkout", "-q", "src")
    pulled.edit("configs/settings/toy.yaml", "n: 60", "n: 66")
    assert pulled.planned()["data"] == 1
    pulled.git("checkout", "-q", "configs")
    assert pulled.planned() == {}


def test_4_formatting_comments_docstrings_and_touching_run_nothing(pulled):
    setting = pulled.root / "configs/settings/toy.yaml"
    setting.write_text("# Another order and layout.\n" + yaml.safe_dump(yaml.safe_load(setting.read_text())))
    module = pulled.root / "src/proponent/methods/trak/trak.py"
    module.write_text(module.read_text().replace('"""', '"""Said otherwise. ', 1))
    for path in (pulled.root / "results").rglob("*.safetensors"):
        path.touch()
    assert pulled.planned() == {}


def test_5_a_killed_repro_goes_on_where_it_was(clone, origin):
    running = subprocess.Popen(
        ["dvc", "repro"],
        cwd=clone.root,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list((clone.root / "results").glob("toy/features/*.manifest.json")):
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not {"data", "train"} & clone.planned().keys()
    clone.dvc("repro")
    assert clone.tensors() == origin.tensors()
    clone.run("proponent", "verify")


def test_6_the_same_bytes_with_another_number_of_cores(clone, origin):
    clone.snakemake("--cores", "1")
    assert clone.tensors() == origin.tensors()


def test_7_a_removed_method_leaves_nothing_behind(pulled):
    assert "results/toy/scores/trak.safetensors" in versioned_files(pulled)
    pulled.edit("params.yaml", "graddot, trak", "graddot")
    pulled.dvc("repro")
    assert "trak" not in (pulled.root / "results/leaderboard.csv").read_text()
    left = list(pulled.root.glob("results/toy/*/trak*"))
    assert [path for path in left if path.parent.name != "benchmarks"] == []
    assert not [name for name in versioned_files(pulled) if "trak" in name]


def test_another_revision_in_the_same_folder_is_current_and_the_first_again(pulled):
    """Snakemake's own metadata, which is that of the first revision, is asked by nobody."""
    first = pulled.git("rev-parse", "HEAD").strip()
    pulled.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    before = pulled.tensors()
    pulled.dvc("repro")
    second = pulled.commit("Slower")
    after = pulled.tensors()
    assert before["results/toy/scores/trak.safetensors"] != after["results/toy/scores/trak.safetensors"]

    pulled.git("checkout", "-q", first)
    assert pulled.planned()["train"] == 1, "before dvc checkout the results are those of the other revision"
    pulled.dvc("checkout")
    assert pulled.planned() == {}
    assert pulled.tensors() == before
    pulled.git("checkout", "-q", second)
    pulled.dvc("checkout")
    assert pulled.planned() == {}
    assert pulled.tensors() == after


def test_repro_after_a_finished_snakemake_run_starts_no_job_and_records_it(clone):
    clone.snakemake()
    made = {path: (clone.root / path).stat().st_ino for path in clone.tensors()}
    printed = clone.dvc("repro")
    assert "Nothing to be done" in printed
    assert "Execute" not in printed
    assert {path: (clone.root / path).stat().st_ino for path in clone.tensors()} == made
    assert "up to date" in clone.dvc("status")
