"""Every mistake in a YAML file is one line: the file, the key, the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.benchmark_schema import MethodConfig
from proponent.config.load import conforms, merge, structured
from proponent.config.recipe_schema import Optimizer, Precision, RecipeConfig, StageConfig
from proponent.config.setting_schema import SettingConfig
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError

MINIMAL = {
    "dataset": {"factory": "a:b"},
    "model": {"factory": "a:c"},
    "recipe": {"lr": 0.1, "epochs": 3},
}


def complaint(schema, content):
    with pytest.raises(UserError) as caught:
        structured(schema, content, "configs/settings/mine.yaml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("configs/settings/mine.yaml: ")
    return text


def test_a_minimal_setting_gets_the_defaults():
    setting = structured(SettingConfig, MINIMAL, "x.yaml")
    assert setting.task.name == "classification"
    assert setting.ensemble.members == 10
    assert setting.recipe.epochs == 3


def test_a_misspelt_key_names_the_nearest_valid_one():
    assert "unknown key 'datasett'; did you mean 'dataset'?" in complaint(
        SettingConfig, {**MINIMAL, "datasett": {}}
    )


def test_a_misspelt_nested_key_is_given_with_its_path():
    content = {**MINIMAL, "recipe": {"lr": 0.1, "epochs": 3, "momentun": 0.9}}
    assert "unknown key 'recipe.momentun'; did you mean 'momentum'?" in complaint(SettingConfig, content)


def test_a_misspelt_key_inside_a_design_is_found():
    content = {**MINIMAL, "designs": {"subsets": {"cuont": 3}}}
    assert "unknown key 'designs.subsets.cuont'; did you mean 'count'?" in complaint(SettingConfig, content)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"lr": "high", "epochs": 3}, "recipe.lr"),
        ({"lr": 0.1, "epochs": 3.5}, "recipe.epochs"),
        ({"lr": 0.1, "epochs": 3, "optimizer": "sdg"}, "recipe.optimizer"),
        ({"lr": -0.1, "epochs": 3}, "lr must be above 0"),
        ({"lr": 0.1}, "exactly one of 'epochs', 'steps' and 'stages'"),
        ({"lr": 0.1, "epochs": 3, "steps": 9}, "exactly one of 'epochs', 'steps' and 'stages'"),
        ({"lr": 0.1, "epochs": 3, "momentum": 1.0}, "momentum must be in [0, 1)"),
    ],
    ids=[
        "text for a number",
        "float for a count",
        "no such optimiser",
        "negative",
        "no length",
        "two lengths",
        "range",
    ],
)
def test_ill_typed_and_impossible_values_are_refused(recipe, said):
    assert said in complaint(SettingConfig, {**MINIMAL, "recipe": recipe})


STAGES = [{"examples": 20, "epochs": 3}, {"examples": 10, "epochs": 1, "lr": 0.01}]


def test_a_recipe_may_have_stages():
    recipe = structured(SettingConfig, {**MINIMAL, "recipe": {"lr": 0.1, "stages": STAGES}}, "x.yaml").recipe
    assert recipe.stages == [StageConfig(20, 3), StageConfig(10, 1, lr=0.01)]
    assert recipe.epochs is None


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (
            {"stages": [STAGES[0], {"examples": 10, "epoch": 1}]},
            "recipe.stages[1]: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        ({"stages": [{"examples": 20}]}, "recipe.stages[0]: 'epochs' is missing"),
        ({"stages": [{"examples": 20, "epochs": 1.5}]}, "recipe.stages[0]: epochs: Value '1.5'"),
        ({"stages": {"examples": 20, "epochs": 1}}, "'recipe.stages' must hold a list of keys"),
        ({"stages": [20, 10]}, "'recipe.stages' must hold a list of keys"),
        ({"stages": [{"examples": 0, "epochs": 1}]}, "recipe.stages[0]: stage: examples must be above 0"),
        ({"stages": [{"examples": 9, "epochs": 1, "lr": 0}]}, "recipe.stages[0]: stage: lr must be above 0"),
        ({"stages": []}, "exactly one of 'epochs', 'steps' and 'stages'"),
        ({"stages": STAGES, "epochs": 3}, "exactly one of 'epochs', 'steps' and 'stages'"),
        ({"stages": STAGES, "steps": 9}, "exactly one of 'epochs', 'steps' and 'stages'"),
        ({"stages": STAGES, "schedule": "cosine"}, "stages have constant learning rates"),
        ({"stages": STAGES, "warmup_steps": 5}, "stages have constant learning rates"),
        ({"stages": STAGES, "warmup_epochs": 5}, "stages have constant learning rates"),
        ({"epochs": 2, "warmup_steps": 5, "warmup_epochs": 1}, "'warmup_steps' or 'warmup_epochs', not both"),
    ],
    ids=str,
)
def test_impossible_stages_are_refused(recipe, said):
    assert said in complaint(SettingConfig, {**MINIMAL, "recipe": recipe})


def test_a_missing_key_is_named():
    assert "'dataset' is missing" in complaint(SettingConfig, {"model": {"factory": "a:b"}})
    assert complaint(SettingConfig, {**MINIMAL, "model": {}}).endswith("'model.factory' is missing")


COMMAND = "a {seed} {indices} {out}"
FACTORIES = {key: MINIMAL[key] for key in ("dataset", "model")}
GIVEN = {"files": [{"final": "a.pt"}, {"final": "b.pt"}]}
CHECKPOINTS = [{"file": "a-1.pt", "lr": 0.1, "step": 10}, {"file": "a-2.pt", "lr": 0.1, "step": 20}]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {},
            "'recipe' is missing; models that are trained elsewhere have training.command or ensemble.files",
        ),
        ({"training": {"optimizer": "sgd"}}, "'recipe' is missing"),
        ({"recipe": {"epochs": 1}, "ensemble": GIVEN}, "not 'recipe' and 'ensemble.files'"),
        ({"recipe": {"epochs": 1}, "training": {"command": COMMAND}}, "not 'recipe' and 'training.command'"),
        (
            {"training": {"command": COMMAND}, "ensemble": GIVEN},
            "not 'training.command' and 'ensemble.files'",
        ),
        ({"recipe": {"epochs": 1}, "training": {"momentum": 0.9}}, "with 'recipe', leave it out"),
        (
            {"ensemble": GIVEN, "designs": {"subsets": {}}},
            "designs (subsets) need a recipe or training.command",
        ),
        ({"ensemble": GIVEN, "augment": {"factory": "a:b"}}, "augment changes training batches"),
        ({"ensemble": GIVEN, "training": {"precision": "bf16"}}, "must be float32 or float64, not bf16"),
        ({"ensemble": GIVEN, "training": {"momentum": 2}}, "training: momentum must"),
        ({"training": {"command": "a {seed} {keep} {out}"}}, "unknown placeholder '{keep}'"),
        ({"training": {"command": COMMAND}, "augment": {"factory": "a:b"}}, "the script augments"),
        ({"ensemble": GIVEN, "training": {"sources": ["a.py"]}}, "sources and targets belong to a command"),
        ({"training": {"command": COMMAND}, "model": None}, "'model' is missing"),
        ({"training": {"command": [COMMAND]}}, "training.command: must be text, not a list"),
        ({"training": {"command": COMMAND, "sources": "a.py"}}, "training.sources: must be a list"),
        (
            {
                "training": {"command": COMMAND, "targets": "script"},
                "model": None,
                "target": {"factory": "a:b"},
            },
            "target belongs to a model, and there is none",
        ),
        ({"ensemble": {"files": [{"final": "a.pt", "lr": 0.1}]}}, "lr and step belong to checkpoints"),
        (
            {"ensemble": {"files": [{"final": "a.pt", "checkpoints": CHECKPOINTS}]}},
            "of the final model as well",
        ),
        (
            {"ensemble": {"files": [{"final": "a.pt", "lr": 0.1, "step": 20, "checkpoints": CHECKPOINTS}]}},
            "steps must grow from checkpoint to checkpoint, not [10, 20, 20]",
        ),
        (
            {
                "ensemble": {
                    "files": [
                        {"final": "a", "lr": 0, "step": 2, "checkpoints": [{"file": "b", "lr": 0, "step": 1}]}
                    ]
                }
            },
            "all learning rates are 0",
        ),
        (
            {"ensemble": {"files": [{"final": "a.pt", "lr": 1, "step": 2, "checkpoints": [{"file": "b"}]}]}},
            "'lr' is missing",
        ),
    ],
    ids=str,
)
def test_a_setting_has_exactly_one_way_to_its_models(keys, said):
    assert said in complaint(SettingConfig, {**FACTORIES, **keys})


def test_numbers_of_members_and_checkpoints_are_those_of_the_files():
    with_checkpoints = {"final": "a.pt", "lr": 0.1, "step": 30, "checkpoints": CHECKPOINTS}
    facts = {"optimizer": "adam", "momentum": 0.5, "weight_decay": 0.1, "precision": "float64"}

    def given(files):
        content = {**FACTORIES, "training": facts, "ensemble": {"files": files}}
        return structured(SettingConfig, content, "mine")

    setting = given([with_checkpoints, {"final": "b.pt"}])
    assert (setting.ensemble.members, setting.ensemble.checkpoints) == (2, 2)
    assert [setting.ensemble.checkpoints_of(members) for members in (1, 2)] == [2, 0]
    assert setting.ensemble.files[0].files == ["a-1.pt", "a-2.pt", "a.pt"]
    assert setting.ensemble.files[0].steps == [10, 20, 30]
    assert given([{**with_checkpoints, "lr": 0}]).ensemble.files[0].learning_rates == [0.1, 0.1, 0]
    assert not setting.trains
    known = (setting.optimizer, setting.momentum, setting.weight_decay, setting.precision)
    assert known == (Optimizer.adam, 0.5, 0.1, Precision.float64)


def test_a_scalar_where_keys_are_expected_is_refused():
    assert "'recipe' must hold keys" in complaint(SettingConfig, {**MINIMAL, "recipe": 3})


def test_an_empty_grid_is_refused():
    assert "grid" in complaint(MethodConfig, {"family": "trak", "tune": {"grid": {}}})


def test_files_that_are_not_yaml_mappings_are_refused(tmp_path: Path):
    for text in ("a: [1", "- 1\n- 2", "a: 1\na: 2", "\x00"):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read_yaml(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_exponents_without_a_dot_are_numbers(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text("lr: 1e-3\nepochs: 2\nname: 1e\n")
    assert read_yaml(path) == {"lr": 0.001, "epochs": 2, "name": "1e"}


def test_merge_goes_into_mappings_and_replaces_lists():
    assert merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}}


def test_every_default_recipe_can_be_built():
    assert structured(RecipeConfig, {"epochs": 1}, "x.yaml").batch_size == 64


def test_values_conform_to_annotations():
    assert conforms(1, float)
    assert not conforms(True, float)
    assert not conforms(1.5, int)
    assert conforms([1, 2.5], list[float])
    assert conforms(None, int | None)
    assert not conforms("1", int | None)
