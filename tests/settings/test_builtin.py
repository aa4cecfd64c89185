"""Built-in settings: real images, and recipes that learn them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proponent.config.extended_settings import extended
from proponent.config.load import merge, structured
from proponent.config.setting_schema import QueriesConfig, SettingConfig
from proponent.config.task_names import written_task
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError
from proponent.settings.datasets import digits, mnist5k
from proponent.settings.factories import build_dataset, build_model
from proponent.settings.label_noise import flip_labels
from proponent.settings.split import check_model, materialise
from proponent.settings.tasks import get_task
from proponent.training.designs import member_run
from proponent.training.lockstep import train
from proponent.training.stack import state_dict

CONFIGS = Path(__file__).parents[2] / "configs"
INSTALLED = ("datasets", "datasets.concrete", "datasets.diabetes", "datasets.rotated_mnist", "docstrings")
"""Modules of proponent.settings whose data are in installed packages; others are downloaded or brought by users."""


def read_setting(name):
    content, _ = extended(CONFIGS.parent, read_yaml(CONFIGS / "settings" / f"{name}.yaml"), name)
    for design, entry in content["designs"].items():
        content["designs"][design] = merge(read_yaml(CONFIGS / "designs" / f"{design}.yaml"), entry)
    content["task"] = written_task(content["task"], name)
    return structured(SettingConfig, content, name)


def is_installed(name):
    module = read_setting(name).dataset.factory.partition(":")[0]
    return module.removeprefix("proponent.settings.") in INSTALLED


SETTINGS = sorted(path.stem for path in (CONFIGS / "settings").glob("*.yaml") if is_installed(path.stem))


@pytest.mark.parametrize(
    "factory, n, n_train, shape", [(mnist5k, 5000, 4500, (28, 28)), (digits, 1797, 1497, (8, 8))]
)
def test_real_images_shuffled_once_and_split(factory, n, n_train, shape):
    split = factory()
    (x, y), (x_query, y_query) = split.train, split.query
    assert (len(x), len(x_query)) == (n_train, n - n_train)
    assert split.image_shape == shape
    assert x.shape[1] == shape[0] * shape[1]
    assert (x.min(), x.max()) == (0, 1)
    assert split.class_names[y.max()] == "9"
    # Every class is in both parts about as often: the files themselves are sorted by class, or by writer.
    assert min(torch.from_numpy(y_query).bincount()) > 0.07 * len(y_query)
    assert (factory(seed=1).train[1] != y).any()
    assert (factory().train[0] == x).all()


def test_more_training_examples_than_there_are_are_refused():
    with pytest.raises(UserError, match="n_train must lie between 1 and 1796, not 1797"):
        digits(n_train=1797)


def test_flipped_labels_move_uniformly_to_other_classes():
    y = torch.arange(30000) % 3
    noisy, mask = flip_labels(y, 0.1, seed=4)
    assert mask.sum() == 3000
    assert ((noisy != y) == mask).all()
    moves = torch.stack([y[mask], noisy[mask]], 1).unique(dim=0, return_counts=True)
    assert len(moves[0]) == 6
    assert (moves[1] - 500).abs().max() < 120
    assert torch.equal(flip_labels(y, 0.1, seed=4)[0], noisy)
    assert not torch.equal(flip_labels(y, 0.1, seed=5)[1], mask)


def test_there_must_be_another_class_to_flip_to():
    with pytest.raises(UserError, match="at least two classes"):
        flip_labels(torch.zeros(5, dtype=torch.int64), 0.5, 0)
    with pytest.raises(UserError, match="one integer label per example"):
        flip_labels(torch.rand(5), 0.5, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_models_fit_their_data_and_noisy_variants_differ_in_labels_only(name):
    setting = read_setting(name)
    task = get_task(setting.task)
    arrays = materialise(build_dataset(setting.dataset, setting.seed), task, setting.queries, name)
    check_model(build_model(setting.model, 0), arrays, task, name)
    if name.endswith("-noisy"):
        clean = read_setting(name.removesuffix("-noisy"))
        for part in ("dataset", "model", "recipe", "queries"):
            assert getattr(setting, part) == getattr(clean, part)
        assert setting.ensemble.checkpoints == clean.ensemble.checkpoints
        assert setting.ensemble.members <= clean.ensemble.members
        assert clean.label_noise is None
        assert setting.label_noise is not None


@pytest.mark.slow
@pytest.mark.parametrize("name, accuracy", [("digits-lr", 0.95), ("digits-mlp", 0.97), ("docstrings", 0.7)])
def test_the_recipe_learns(name, accuracy):
    setting = read_setting(name)
    task = get_task(setting.task)
    arrays = materialise(build_dataset(setting.dataset, setting.seed), task, QueriesConfig(100, 200), name)
    runs = [member_run(setting.seed, member) for member in range(3)]
    trained = train(
        lambda seed: build_model(setting.model, seed),
        arrays.x_train,
        arrays.y_train,
        task,
        setting.recipe,
        runs,
    )
    right = []
    for index in range(len(runs)):
        model = build_model(setting.model, 0)
        model.load_state_dict(state_dict(trained.template, trained.state, index))
        with torch.no_grad():
            right.append((model(arrays.x_query).argmax(1) == arrays.y_query).float().mean())
    assert torch.stack(right).mean() > accuracy


def test_selections_name_settings_and_all_names_each_whose_data_can_be_fetched():
    names = {path.stem for path in (CONFIGS / "settings").glob("*.yaml")}
    selections = read_yaml(CONFIGS.parent / "params.yaml")["selections"]
    assert {name for chosen in selections.values() for name in chosen} <= names
    brought_by_users = {*selections["paper"], *selections["brought"]}
    assert sorted(selections["all"]) == sorted(names - brought_by_users)
