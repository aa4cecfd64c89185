"""Never stale: a change re-runs exactly what depends on it (DESIGN, the seven laws within one checkout).

Each test counts the jobs that Snakemake would start.
"""

from __future__ import annotations

import os
import random
import shutil
import time

import pytest

pytestmark = pytest.mark.slow

COLLECTION = {"collect": 1, "summary": 1, "figures": 1, "overview": 1}


def test_nothing_to_do_after_a_run(checkout):
    assert checkout.planned() == {}


def test_nothing_to_do_without_snakemakes_metadata_and_with_times_in_random_order(checkout):
    """What a fresh clone with pulled results looks like."""
    shutil.rmtree(checkout.root / ".snakemake")
    draw = random.Random(0)  # noqa: S311 - no secret
    for path in (checkout.root / "results").rglob("*"):
        moment = time.time() - draw.randrange(10**6)
        os.utime(path, (moment, moment))
    assert checkout.planned() == {}


def test_a_changed_hyper_parameter_runs_that_method_its_evaluation_and_the_collection(checkout):
    checkout.edit(
        "params.yaml",
        "methods: [",
        "overrides: {methods: {graddot: {params: {normalise: true}}}}\nmethods: [",
    )
    assert checkout.planned() == {"graddot": 1, "evaluate": 1, **COLLECTION}


def test_a_changed_method_source_runs_that_method_its_evaluation_and_the_collection(checkout):
    with (checkout.root / "src/proponent/methods/trak/trak.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    assert checkout.planned() == {"trak": 1, "evaluate": 1, **COLLECTION}


def test_a_changed_engine_leaves_methods_without_models_and_the_ground_truth_alone(checkout):
    with (checkout.root / "src/proponent/features/gradients/block.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    planned = checkout.planned()
    assert planned == {"featurize": 1, "graddot": 1, "trak": 1, "evaluate": 2, **COLLECTION}


def test_a_changed_recipe_runs_everything_but_the_data(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    planned = checkout.planned()
    assert "data" not in planned
    assert planned["train"] == 1
    assert planned["retrain"] == 4
    assert planned["evaluate"] == 3
    assert "noise" not in planned, "random scores depend on no model"


def test_a_changed_trainer_module_is_seen_although_it_is_only_imported(checkout):
    with (checkout.root / "src/proponent/training/recipe.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    planned = checkout.planned()
    assert planned["train"] == 1
    assert planned["retrain"] == 4
    assert "data" not in planned


def test_changed_data_runs_everything(checkout):
    checkout.edit("configs/settings/toy.yaml", "n: 60", "n: 66")
    planned = checkout.planned()
    assert planned["data"] == 1
    assert planned["evaluate"] == 3


def test_a_users_own_factory_is_part_of_the_key(checkout):
    checkout.edit("toy/factories.py", "torch.nn.Tanh()", "torch.nn.ReLU()")
    assert checkout.planned()["train"] == 1


def test_comments_docstrings_formatting_and_touching_run_nothing(checkout):
    checkout.edit("toy/factories.py", '"""A small network."""', '"""Another docstring."""  # and a comment')
    checkout.edit(
        "configs/settings/toy.yaml", "task: classification", "# a comment\ntask:   'classification'"
    )
    checkout.edit("src/proponent/training/lockstep.py", "from __future__", "# a comment\nfrom __future__")
    for path in [
        *checkout.root.rglob("*.py"),
        *checkout.root.rglob("*.smk"),
        *(checkout.root / "results").rglob("*.safetensors"),
    ]:
        path.touch()
    assert checkout.planned() == {}


def test_plumbing_runs_nothing(checkout):
    for module in ("cli.py", "progress.py", "store/files.py", "steps/job.py"):
        with (checkout.root / "src/proponent" / module).open("a") as source:
            source.write("\nNEW_CONSTANT = 3\n")
    assert checkout.planned() == {}


def test_results_of_another_revision_are_stale_whatever_snakemake_remembers(checkout, tmp_path):
    """The trap of checking out older results: Snakemake's metadata speaks of bytes that are not there."""
    old = tmp_path / "old"
    shutil.copytree(checkout.root / "results/toy/scores", old)
    checkout.edit(
        "params.yaml",
        "methods: [",
        "overrides: {methods: {graddot: {params: {normalise: true}}}}\nmethods: [",
    )
    checkout.snakemake()
    assert checkout.planned() == {}
    shutil.rmtree(checkout.root / "results/toy/scores")
    shutil.copytree(old, checkout.root / "results/toy/scores")
    assert checkout.planned()["graddot"] == 1


def test_a_removed_method_leaves_no_orphan_in_the_leaderboard(checkout):
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    assert checkout.planned() == COLLECTION
    checkout.snakemake()
    assert "trak" not in (checkout.root / "results/leaderboard.csv").read_text()


def test_more_retrainings_keep_those_that_are_there(checkout):
    checkout.edit("configs/settings/toy.yaml", "count: 20, seeds: 2", "count: 30, seeds: 2")
    planned = checkout.planned()
    assert planned["retrain"] == 1
    assert not {"graddot", "trak"} & planned.keys(), "what evaluates has not tuned them"


def test_a_job_refuses_to_run_once_the_source_has_changed(checkout):
    """What is planned is what is run, or nothing: no mixture of two versions."""
    (checkout.root / "results/toy/scores/trak.safetensors").unlink()
    with (checkout.root / "src/proponent/methods/trak/trak.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    done = checkout.run_step("attribute", "results/toy/keys/scores/trak.safetensors.json")
    assert done.returncode == 1
    assert "proponent.methods.trak.trak changed since this run was planned" in done.stdout
    assert not (checkout.root / "results/toy/scores/trak.safetensors").exists()
