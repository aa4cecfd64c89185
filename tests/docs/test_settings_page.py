"""docs/settings.md is what its generator makes of the recorded results."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from docs.guides import REPOSITORY

_spec = importlib.util.spec_from_file_location("settings_page", REPOSITORY / "benchmarks/settings_page.py")
settings_page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(settings_page)


def test_the_page_is_that_of_the_recorded_results():
    text = (REPOSITORY / "docs/settings.md").read_text(encoding="utf-8")
    assert text == settings_page.stored(REPOSITORY), "run python benchmarks/settings_page.py write"


@pytest.fixture
def finished(tmp_path):
    """Results of a setting with two members, three classes and four queries, of which the first is for tuning."""
    folder = tmp_path / "results/small"
    for part in ("data", "features", "ensemble/member-000", "ensemble/member-001", "ground_truth", "metrics"):
        (folder / part).mkdir(parents=True)
    (folder / "data/description.json").write_text(json.dumps({"card": "digits", "n_train": 9, "n_tune": 1}))
    save_file({"y": np.array([0, 0, 1, 2])}, folder / "data/query.safetensors")
    wrong = np.full((4, 3), -9.0, np.float32)
    first = np.array([[0, 9, 0], [9, 0, 0], [0, 1, 0], [2, 0, 0]], np.float32)
    second = np.array([[0, 9, 0], [9, 0, 0], [0, 1, 0], [0, 0, 3]], np.float32)
    for shard, final in enumerate((first, second)):
        name = f"member-00{shard}"
        values = {f"{name}/0.query": wrong, f"{name}/10.query": final, f"{name}/9.query": wrong}
        save_file(values, folder / f"features/outputs-00{shard}.safetensors")
    state = {"w": np.zeros((3, 4)), "b.running_mean": np.zeros(7), "b.num_batches_tracked": np.array(3)}
    save_file(state, folder / "ensemble/member-000/final.safetensors")
    save_file({"targets": np.zeros((5, 2, 4))}, folder / "ground_truth/subsets.safetensors")
    save_file({"targets": np.zeros((6, 1, 4))}, folder / "ground_truth/tune.safetensors")
    for place in range(7):
        lds = {"value": place / 10, "ci_low": 0.0, "ci_high": 0.9, "ceiling": 0.8, "ceiling_additive": 0.7}
        document = {"method": f"m{place}", "metrics": {"lds": lds}}
        (folder / f"metrics/m{place}.json").write_text(json.dumps(document))
        manifest = {"seconds": 10.0, "peak_memory_mib": 100.0 + place}
        (folder / f"metrics/m{place}.json.manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_record_holds_the_quality_of_the_ensemble_and_the_best_methods(finished):
    found = settings_page.record(finished, "small")
    assert found["accuracy"] == pytest.approx(
        1.0
    )  # the mean of both members is right on all three test queries
    assert (found["parameters"], found["members"], found["retrainings"]) == (12, 2, 16)
    assert (found["seconds"], found["peak_memory_mib"]) == (70, 106)
    assert [entry[0] for entry in found["lds"]] == ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]
    assert (found["ceiling"], found["ceiling_additive"]) == (0.8, 0.7)
    text = settings_page.page([found], {"small": "A small setting."})
    assert (
        "| `small` | Optical recognition of handwritten digits, CC BY 4.0; scikit-learn BSD-3-Clause | 9 | 1.000 | 12 |"
        in text
    )
    assert "Ceiling 0.800, additive ceiling 0.700." in text
    assert "| `m6` | 0.600 | 0.000 to 0.900 |" in text
    assert "`m1`" not in text  # the best five


def test_the_labels_of_the_strongest_opponents_are_counted(finished, monkeypatch):
    folder = finished / "results/small"
    (folder / "scores").mkdir()
    save_file({"y": np.array([0, 0, 1, 1, 2])}, folder / "data/train.safetensors")
    scores = np.array([[0, 0, 0, 0, 0], [9, 9, -2, 9, -1], [-3, -1, 0, 1, 2], [9, -5, -4, 9, 9]], np.float32)
    save_file({"scores": scores}, folder / "scores/tracin.safetensors")
    monkeypatch.setattr(settings_page, "OPPONENTS", 2)
    described = {"class_names": ["a", "b", "c", "d"], "n_tune": 1}
    found = settings_page.opponents(folder, described)
    assert found["shares"] == [[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [None] * 4]
    assert settings_page.opponents(folder, {"class_names": None}) == {}


def test_the_quality_of_a_regression_is_its_explained_variance(finished):
    folder = finished / "results/small"
    y = np.array([[9.0], [1.0], [2.0], [3.0]], np.float32)
    save_file({"y": y}, folder / "data/query.safetensors")
    for shard, shift in enumerate((0.5, -0.5)):  # the mean of the members is off by nothing
        save_file(
            {f"member-00{shard}/0.query": y + shift}, folder / f"features/outputs-00{shard}.safetensors"
        )
    assert settings_page.quality(folder, 1, list) == {"r2": pytest.approx(1.0)}
    save_file({"member-000/0.query": y * 0 + 2}, folder / "features/outputs-000.safetensors")
    save_file({"member-001/0.query": y * 0 + 2}, folder / "features/outputs-001.safetensors")
    assert settings_page.quality(folder, 1, list) == {"r2": pytest.approx(0.0)}


def test_the_quality_of_sequences_is_that_of_the_positions_that_count(finished):
    """Of the three test queries, four positions count, and the mean of the members is right on all of them."""
    folder = finished / "results/small"
    for path in folder.glob("features/*"):
        path.unlink()
    save_file({"y": np.array([[0, 0], [1, -100], [2, 0], [-100, 1]])}, folder / "data/query.safetensors")
    p = np.array(
        [[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]
    )
    outputs = np.log(np.concatenate([np.ones((1, 2, 3)) / 3, p.reshape(3, 2, 3)]))
    found = settings_page.quality(folder, 1, lambda: [outputs + 5, outputs])
    assert found["accuracy"] == 1.0
    assert found["perplexity"] == pytest.approx(float(np.prod([0.7, 0.7, 0.5, 0.8]) ** -0.25))
    text = settings_page.page([{**settings_page_entry(), **found}], {"small": ""})
    assert f"| 9 | 1.000 ({found['perplexity']:.2f}) |" in text


def settings_page_entry():
    return {
        "setting": "small",
        "data": None,
        "n_train": 9,
        "parameters": 1,
        "members": 1,
        "retrainings": 1,
        "seconds": 1,
        "peak_memory_mib": 1,
        "ceiling": None,
        "ceiling_additive": None,
        "lds": [],
    }


def test_a_setting_that_is_not_finished_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_page, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="results/fmnist has no metrics; run snakemake"):
        settings_page.main(["record", "fmnist"])
    assert not list(tmp_path.iterdir())
