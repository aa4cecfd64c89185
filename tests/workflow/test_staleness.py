"""Never stale: a change starts exactly the jobs that depend on it (laws 2 to 4 of docs/versioning.md).

Each test counts the jobs that Snakemake would start. The laws about clones, pulls and revisions are tested in
versioning/test_laws.py.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time

import pytest
import yaml

pytestmark = pytest.mark.slow

COLLECTION = {"collect": 1, "summary": 1, "figures": 1, "overview": 1}
MODELS = {
    "check": 1,
    "train": 1,
    "retrain": 4,
    "ground_truth": 3,
    "featurize": 1,
    "graddot": 1,
    "trak": 1,
    "evaluate": 3,
}
"""Jobs that depend on the recipe, the model or the trainer: not the data, and not random scores."""


def append_statement(checkout, module: str) -> None:
    """Add a statement that runs at import to a module, so that it counts for every definition of the module."""
    with (checkout.root / "src/proponent" / module).open("a") as source:
        source.write("\nglobals()['CHANGED'] = 3\n")


def test_nothing_to_do_after_a_run(checkout):
    assert checkout.planned() == {}


def test_nothing_to_do_without_snakemakes_metadata_and_with_times_in_random_order(checkout):
    """The state of a fresh clone with pulled results."""
    shutil.rmtree(checkout.root / ".snakemake")
    draw = random.Random(0)  # noqa: S311 - no secret
    for path in (checkout.root / "results").rglob("*"):
        seconds = time.time() - draw.randrange(10**6)
        os.utime(path, (seconds, seconds))
    assert checkout.planned() == {}


def test_a_changed_hyper_parameter_runs_that_method_its_evaluation_and_the_collection(checkout):
    checkout.edit(
        "params.yaml",
        "methods: [",
        "overrides: {methods: {graddot: {params: {normalise: true}}}}\nmethods: [",
    )
    assert checkout.planned() == {"graddot": 1, "evaluate": 1, **COLLECTION}


def test_a_changed_method_source_runs_that_method_its_evaluation_and_the_collection(checkout):
    append_statement(checkout, "methods/trak/trak.py")
    assert checkout.planned() == {"trak": 1, "evaluate": 1, **COLLECTION}


def test_a_changed_feature_engine_runs_features_and_the_methods_that_read_them(checkout):
    append_statement(checkout, "features/gradients/block.py")
    planned = checkout.planned()
    assert planned == {"check": 1, "featurize": 1, "graddot": 1, "trak": 1, "evaluate": 2, **COLLECTION}


def test_a_changed_recipe_runs_everything_but_the_data_and_back_again_nothing(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    assert checkout.planned() == {**MODELS, **COLLECTION}
    checkout.edit("configs/settings/toy.yaml", "lr: 0.1", "lr: 0.2")
    assert checkout.planned() == {}


def test_a_changed_trainer_module_that_is_only_imported_counts_like_a_changed_recipe(checkout):
    append_statement(checkout, "training/recipe.py")
    assert checkout.planned() == {**MODELS, **COLLECTION}


def test_changed_data_runs_everything(checkout):
    checkout.edit("configs/settings/toy.yaml", "n: 60", "n: 66")
    planned = checkout.planned()
    assert sum(planned.values()) == 21, "as in a checkout without results"
    assert planned["data"] == 1


def test_the_source_of_a_users_own_factory_is_part_of_the_key(checkout):
    checkout.edit("toy/factories.py", "torch.nn.Tanh()", "torch.nn.ReLU()")
    assert checkout.planned()["train"] == 1


def test_comments_docstrings_formatting_touching_and_unused_definitions_run_nothing(checkout):
    checkout.edit("toy/factories.py", '"""A small network."""', '"""Another docstring."""  # and a comment')
    checkout.edit(
        "configs/settings/toy.yaml", "task: classification", "# a comment\ntask:   'classification'"
    )
    setting = checkout.root / "configs/settings/toy.yaml"
    setting.write_text("# Another order and layout.\n" + yaml.safe_dump(yaml.safe_load(setting.read_text())))
    checkout.edit("src/proponent/training/lockstep.py", "from __future__", "# a comment\nfrom __future__")
    method = checkout.root / "src/proponent/methods/trak/trak.py"
    method.write_text(method.read_text().replace('"""', '"""Another sentence. ', 1))
    for unrelated in ("toy/factories.py", "src/proponent/methods/trak/trak.py"):
        with (checkout.root / unrelated).open("a") as source:
            source.write("\nUNUSED = 3\n\n\ndef unused() -> int:\n    return UNUSED\n")
    for path in [
        *checkout.root.rglob("*.py"),
        *checkout.root.rglob("*.smk"),
        *(checkout.root / "results").rglob("*.safetensors"),
    ]:
        path.touch()
    assert checkout.planned() == {}


def test_changed_plumbing_runs_nothing(checkout):
    for module in ("cli.py", "progress.py", "store/files.py", "steps/io/job.py"):
        append_statement(checkout, module)
    assert checkout.planned() == {}


def test_results_of_another_revision_are_stale_whatever_snakemakes_metadata_say(checkout, tmp_path):
    """After a checkout of older results, Snakemake's metadata describe bytes that are no longer there."""
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


def test_a_larger_design_keeps_the_retrainings_of_a_smaller_one(checkout):
    checkout.edit("configs/settings/toy.yaml", "count: 20, seeds: 2", "count: 30, seeds: 2")
    planned = checkout.planned()
    assert planned["retrain"] == 1
    assert not {"graddot", "trak"} & planned.keys(), "they were not tuned on the retrainings that evaluate"


def test_a_job_refuses_to_run_if_the_source_has_changed_since_the_plan(checkout):
    """A job runs as planned or not at all, so that no artefact mixes two versions."""
    (checkout.root / "results/toy/scores/trak.safetensors").unlink()
    append_statement(checkout, "methods/trak/trak.py")
    done = checkout.run_step("attribute", "results/toy/keys/scores/trak.safetensors.json")
    assert done.returncode == 1
    # The statement may reach more definitions of the modules that this one imports: any of them may be named first.
    assert re.search(r"proponent\.methods\S+ changed since this run was planned", done.stdout)
    assert not (checkout.root / "results/toy/scores/trak.safetensors").exists()
