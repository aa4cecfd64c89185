"""Planted shortcuts, merged classes and duplicates: what changes, what stays, and the stored truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from proponent.config.load import structured
from proponent.config.planted import DuplicatesConfig, PlantedConfig, ShortcutConfig, SubclassConfig
from proponent.config.setting_schema import SettingConfig
from proponent.errors import UserError
from proponent.settings import large_arrays
from proponent.settings.planted_truth import given_truth, plant
from proponent.settings.split import Arrays

N, N_QUERY = 40, 20
NAMES = ["zero", "one", "two", "three"]


def arrays(shape: tuple[int, ...] = (36,), dtype: torch.dtype = torch.float32) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 100, (N + N_QUERY, *shape), generator=generator).to(dtype)
    y = torch.arange(N + N_QUERY) % 4
    return Arrays(x[:N], y[:N], x[N:], y[N:])


def planted(config: PlantedConfig, data: Arrays, image_shape=(6, 6), seed: int = 0):
    return plant(data, NAMES, image_shape, config, seed, "setting s")


@pytest.mark.parametrize(
    "row, image_shape",
    [((36,), (6, 6)), ((6, 6), (6, 6)), ((3, 6, 6), (3, 6, 6)), ((6, 6, 3), (6, 6, 3)), ((1, 6, 6), (6, 6))],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_shortcut_is_a_bright_square_on_half_of_a_class_and_on_queries_of_others(row, image_shape, dtype):
    data = arrays(row, dtype)
    before = data.x_train.clone()
    found, names, truth = planted(
        PlantedConfig(shortcut=ShortcutConfig(label=2, pixels=2)), data, image_shape
    )
    stamped, queries = truth["shortcut"], truth["shortcut_queries"]
    assert stamped.sum() == 5 and (data.y_train[stamped] == 2).all()
    assert queries.sum() == 8 and (data.y_query[queries] != 2).all()
    for x, old, mask in ((found.x_train, data.x_train, stamped), (found.x_query, data.x_query, queries)):
        assert x.dtype == dtype and torch.equal(x[~mask], old[~mask])
        images, olds = x[mask], old[mask]
        if len(row) > 1 and row[-1] == 3:  # channels last
            images, olds = images.movedim(-1, 1), olds.movedim(-1, 1)
        images, olds = images.reshape(len(images), -1, 6, 6), olds.reshape(len(images), -1, 6, 6)
        assert (images[..., 4:, 4:] == data.x_train.max()).all()
        changed = images != olds
        changed[..., 4:, 4:] = False
        assert not changed.any(), "nothing outside of the square changes"
    assert torch.equal(data.x_train, before), "the factory's own arrays stay as they are"
    assert torch.equal(found.y_train, data.y_train) and torch.equal(found.y_query, data.y_query)
    assert names == NAMES


def test_merged_classes_keep_their_old_labels_as_the_truth():
    data = arrays()
    found, names, truth = planted(PlantedConfig(subclass=SubclassConfig([[0, 3], [1, 2]])), data)
    assert found.y_train[:8].tolist() == [0, 1, 1, 0, 0, 1, 1, 0]
    assert found.y_query[:4].tolist() == [0, 1, 1, 0]
    assert torch.equal(truth["subclass"], data.y_train)
    assert torch.equal(truth["subclass_queries"], data.y_query)
    assert names == ["zero + three", "one + two"]
    assert found.x_train is data.x_train


def test_a_copy_is_equal_to_its_original_which_stays_as_it_was():
    data = arrays()._replace(weight_train=torch.arange(N).float() + 1)
    found, _, truth = planted(PlantedConfig(duplicates=DuplicatesConfig(0.2)), data)
    original = truth["duplicate_of"]
    is_copy = original >= 0
    assert is_copy.sum() == 8
    assert len(original[is_copy].unique()) == 8
    assert not is_copy[original[is_copy]].any()
    for new, old in zip(found, data, strict=True):
        if new is not old:  # everything that belongs to a training example
            assert torch.equal(new[is_copy], old[original[is_copy]])
            assert torch.equal(new[~is_copy], old[~is_copy])
    assert found.x_query is data.x_query


@pytest.mark.parametrize(
    "config",
    [
        PlantedConfig(shortcut=ShortcutConfig(label=1)),
        PlantedConfig(duplicates=DuplicatesConfig(0.3)),
    ],
)
def test_the_choice_of_examples_follows_from_the_seed(config):
    def truth(seed):
        return next(iter(planted(config, arrays(), seed=seed).truth.values()))

    assert torch.equal(truth(0), truth(0))
    assert not torch.equal(truth(0), truth(1))


@pytest.mark.parametrize(
    "config, image_shape, message",
    [
        (PlantedConfig(shortcut=ShortcutConfig(2)), None, "needs images; give image_shape in the Split"),
        (PlantedConfig(shortcut=ShortcutConfig(9)), (6, 6), "no training example has the label 9"),
        (PlantedConfig(shortcut=ShortcutConfig(2, pixels=7)), (6, 6), "pixels is 7, but an image has 6 x 6"),
        (PlantedConfig(shortcut=ShortcutConfig(2, fraction=0.01)), (6, 6), "of 10 examples is less than one"),
        (PlantedConfig(subclass=SubclassConfig([[0], [1, 2]])), None, "has no group for the label 3; add it"),
        (
            PlantedConfig(subclass=SubclassConfig([[0, 1], [2, 3], [30]])),
            None,
            "names the label 30, but there are 4 classes",
        ),
        (PlantedConfig(duplicates=DuplicatesConfig(0.01)), None, "of 40 examples is less than one; raise it"),
    ],
)
def test_data_that_do_not_allow_the_change_are_refused(config, image_shape, message):
    with pytest.raises(UserError, match=f"setting s: .*{message}"):
        planted(config, arrays(), image_shape)


def test_an_ignored_label_needs_a_group_as_well():
    data = arrays()._replace(y_train=torch.full((N,), -100))
    with pytest.raises(UserError, match="no group for the label -100"):
        planted(PlantedConfig(subclass=SubclassConfig([[0, 1], [2, 3]])), data)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_half_of_the_examples_may_be_copies_of_the_other_half(n):
    data = Arrays(torch.rand(n, 4), torch.arange(n), torch.rand(1, 4), torch.zeros(1, dtype=torch.int64))
    _, _, truth = planted(PlantedConfig(duplicates=DuplicatesConfig(0.5)), data, None)
    originals = truth["duplicate_of"][truth["duplicate_of"] >= 0]
    assert len(originals) == len(originals.unique()) == n // 2


def test_no_query_needs_to_be_stamped():
    config = PlantedConfig(shortcut=ShortcutConfig(label=2, query_fraction=0))
    assert not planted(config, arrays()).truth["shortcut_queries"].any()


@pytest.mark.parametrize(
    "config",
    [PlantedConfig(shortcut=ShortcutConfig(label=1)), PlantedConfig(duplicates=DuplicatesConfig(0.2))],
)
def test_large_inputs_stay_in_files_of_the_data_folder(config, tmp_path, monkeypatch):
    data = arrays()
    monkeypatch.setattr(large_arrays, "LARGE", 4 * N * 36)
    with large_arrays.large_arrays_in(tmp_path / "data"):
        found = planted(config, data)
    mapped = re.findall(rf"{re.escape(str(tmp_path))}\S* \(deleted\)", Path("/proc/self/maps").read_text())
    assert len(mapped) == 1
    assert torch.equal(found.arrays.x_train, planted(config, data).arrays.x_train)


def test_a_shortcut_of_texts_is_a_token_in_place_of_the_first():
    data = arrays((5,), torch.int64)
    config = PlantedConfig(shortcut=ShortcutConfig(label=2, fraction=0.3, token=777))
    found, _, truth = planted(config, data, image_shape=None)
    for x, old, mask in (
        (found.x_train, data.x_train, truth["shortcut"]),
        (found.x_query, data.x_query, truth["shortcut_queries"]),
    ):
        assert mask.any() and (x[mask, 0] == 777).all() and (old != 777).all()
        assert torch.equal(x[:, 1:], old[:, 1:]) and torch.equal(x[~mask], old[~mask])
    with pytest.raises(UserError, match=r"planted\.shortcut\.token needs texts"):
        planted(config, arrays(), image_shape=None)
    with pytest.raises(
        UserError, match=r"give image_shape in the Split, or planted\.shortcut\.token for texts"
    ):
        planted(PlantedConfig(shortcut=ShortcutConfig(label=2)), data, image_shape=None)


def test_a_truth_of_the_factory_is_stored_for_the_queries_that_are_used():
    truth = {"fact": [4, 5, 6], "fact_queries": range(9), "shortcut": [0]}
    found = given_truth(truth, ["fact"], 3, 2, "setting s")
    assert {name: values.tolist() for name, values in found.items()} == {
        "fact": [4, 5, 6],
        "fact_queries": [0, 1],
    }
    with pytest.raises(UserError, match="returns no truth 'facts'; did you mean 'fact'"):
        given_truth(truth, ["facts"], 3, 2, "setting s")
    with pytest.raises(UserError, match=r"truth 'shortcut' .* has shape \(1,\); give \(3,\)"):
        given_truth(truth, ["shortcut"], 3, 2, "setting s")


def test_labels_that_are_not_classes_are_refused():
    data = arrays()._replace(y_train=torch.rand(N))
    for config in (
        PlantedConfig(shortcut=ShortcutConfig(2)),
        PlantedConfig(subclass=SubclassConfig([[0], [1]])),
    ):
        with pytest.raises(UserError, match="needs one class per example"):
            planted(config, data)


MINIMAL = {
    "dataset": {"factory": "a:b"},
    "model": {"factory": "a:c"},
    "recipe": {"lr": 0.1, "epochs": 3},
}


def test_the_key_is_read_from_yaml():
    content = {**MINIMAL, "planted": {"subclass": {"groups": [[0, 1], [2]]}}}
    assert structured(SettingConfig, content, "x").planted == PlantedConfig(
        subclass=SubclassConfig([[0, 1], [2]])
    )


@pytest.mark.parametrize(
    "value, message",
    [
        ({}, "give exactly one of 'shortcut', 'subclass', 'duplicates' and 'given'"),
        ({"duplicates": {}, "shortcut": {"label": 1}}, "give exactly one of"),
        ({"shortcut": {}}, "'planted.shortcut.label' is missing"),
        ({"shortcut": {"label": 1, "fraction": 1.5}}, "fraction must be at most 1, not 1.5"),
        (
            {"shortcut": {"label": 1, "pixel": 3}},
            "unknown key 'planted.shortcut.pixel'; did you mean 'pixels'",
        ),
        (
            {"subclass": {"groups": [[0, 1], [1]]}},
            "groups must be two or more lists of labels from 0, in which no label is twice",
        ),
        ({"subclass": {"groups": [[0, 1], [-1]]}}, "lists of labels from 0"),
        ({"subclass": {"groups": [["a"], [1]]}}, "planted.subclass.groups"),
        ({"duplicates": {"fraction": 0.6}}, "fraction must be above 0 and at most 0.5, not 0.6"),
    ],
)
def test_mistakes_in_yaml_are_named(value, message):
    with pytest.raises(UserError) as error:
        structured(SettingConfig, {**MINIMAL, "planted": value}, "x")
    assert message in str(error.value)
