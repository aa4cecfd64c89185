"""Settings that extend another one, and selections of settings by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.extended_settings import extended
from proponent.errors import UserError

PARENT = """
description: parent
dataset: {factory: "mine:data", args: {n: 60, seed: 1}}
model: {factory: "mine:model"}
recipe: {lr: 0.1, epochs: 3}
ensemble: {members: 4, checkpoints: 2}
designs: {subsets: {count: 10}, loo: {count: 5}}
queries: {tune: 4, test: 5}
"""
MODULE = """
def data(n: int, seed: int = 0): ...
def model(): ...
def attribute(data): ...
"""
PARAMS = "settings: [parent]\nmethods: [mine]\nmetrics: []\nselections: {small: [child, parent], none: []}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind in ("settings", "methods", "metrics"):
        (tmp_path / "configs" / kind).mkdir(parents=True)
    designs = Path(__file__).parents[2] / "configs/designs"
    (tmp_path / "configs/designs").symlink_to(designs)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "configs/methods/mine.yaml").write_text("family: mine:attribute\n")
    (tmp_path / "src").symlink_to(Path(__file__).parents[2] / "src")
    write(tmp_path, "parent", PARENT)
    write(tmp_path, "child", "extends: parent\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / f"configs/settings/{name}.yaml").write_text(text)


def load(root: Path, name: str):
    return load_benchmark(root, {"settings": [name]}).settings[name]


def test_a_setting_that_gives_nothing_is_the_one_that_it_extends(root):
    assert load(root, "child") == load(root, "parent")


def test_values_are_merged_and_designs_replaced(root):
    write(
        root,
        "child",
        "extends: parent\ndataset: {args: {n: 30}}\nensemble: {members: 2}\n"
        "recipe: {epochs: null, steps: 7}\ndesigns: {loo: {count: 3}}\n",
    )
    child, parent = load(root, "child"), load(root, "parent")
    assert child.dataset.args == {"n": 30, "seed": 1}
    assert (child.ensemble.members, child.ensemble.checkpoints) == (2, 2)
    assert (child.recipe.epochs, child.recipe.steps, child.recipe.lr) == (None, 7, 0.1)
    assert {name: design.count for name, design in child.designs.items()} == {"loo": 3}
    assert {name: design.count for name, design in parent.designs.items()} == {
        "loo": 5,
        "subsets": 10,
        "tune": 50,
    }


def test_the_chain_may_be_longer_and_the_nearest_value_holds(root):
    write(root, "child", "extends: parent\nqueries: {tune: 3}\nseed: 1\n")
    write(root, "grandchild", "extends: child\nqueries: {test: 2}\n")
    found = load(root, "grandchild")
    assert (found.queries.tune, found.queries.test, found.seed, found.recipe.epochs) == (3, 2, 1, 3)


def test_errors_name_all_files_that_a_value_may_come_from(root):
    write(root, "child", "extends: parent\nrecipe: {momentun: 1}\n")
    with pytest.raises(UserError) as error:
        load(root, "child")
    where = "configs/settings/child.yaml with configs/settings/parent.yaml"
    assert str(error.value) == f"{where}: unknown key 'recipe.momentun'; did you mean 'momentum'?"


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "extends: parnt\n",
            "configs/settings/child.yaml: extends names 'parnt', which does not exist; did you mean 'parent'?",
        ),
        (
            "extends: ../settings/parent\n",
            "configs/settings/child.yaml: extends names '../settings/parent', which does not exist; did you mean 'parent'?",
        ),
        (
            "extends: child\n",
            "configs/settings/child.yaml: extends names 'child', which extends this setting",
        ),
    ],
)
def test_a_parent_that_cannot_be_is_refused(root, text, message):
    write(root, "child", text)
    with pytest.raises(UserError) as error:
        load(root, "child")
    assert str(error.value).startswith(message)


def test_settings_that_extend_each_other_are_refused(root):
    write(root, "parent", "extends: child\n")
    with pytest.raises(
        UserError, match=r"parent\.yaml: extends names 'child', which extends this setting; leave one out"
    ):
        load(root, "child")


def test_a_setting_without_parent_is_left_as_it_is(root):
    assert extended(root, {"seed": 3}, "x.yaml") == ({"seed": 3}, "x.yaml")


def test_a_selection_takes_the_place_of_the_settings(root):
    assert list(load_benchmark(root, {"selection": "small"}).settings) == ["child", "parent"]
    assert list(load_benchmark(root).settings) == ["parent"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"selection": "smal"}, "--config: no selection 'smal' in params.yaml; did you mean 'small'?"),
        (
            {"selection": ["small"]},
            "--config: no selection '['small']' in params.yaml; did you mean 'small'?",
        ),
        ({"selection": "small", "settings": ["child"]}, "--config: give either 'selection' or 'settings'"),
    ],
)
def test_selections_that_cannot_be_are_refused(root, flags, message):
    with pytest.raises(UserError) as error:
        load_benchmark(root, flags)
    assert str(error.value) == message


def test_params_yaml_names_settings_and_no_selection(root):
    """DVC reads the settings of params.yaml, and knows no selection."""
    (root / "params.yaml").write_text("selection: small\n" + PARAMS)
    with pytest.raises(UserError, match=r"params\.yaml: unknown key 'selection'; did you mean 'selections'"):
        load_benchmark(root)


def test_a_variant_takes_trained_models_in_place_of_a_recipe(root):
    variant = "extends: parent\nrecipe: null\ndesigns: {}\nensemble: {files: [a.pt]MORE}\n"
    write(root, "child", variant.replace("MORE", ", members: null, checkpoints: null"))
    child = load_benchmark(root, {"settings": ["child"]}).settings["child"]
    assert child.trained_by == "files" and child.ensemble.members == 1 and child.ensemble.checkpoints == 0
    write(root, "child", variant.replace("MORE", ""))
    with pytest.raises(UserError, match=r"ensemble\.members follows from ensemble\.files"):
        load_benchmark(root, {"settings": ["child"]})
