"""``recipe.precision`` from data to scores, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from docs import tiny_results

METHODS = ("graddot", "if-exact", "logra", "magic", "rps", "trak-lora")
TYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
CLOSE = {"float64": 1e-4, "bf16": 0.02}
"""Largest difference from the scores in float32, relative to their norm: training in bfloat16 is rounded."""


@pytest.mark.slow
def test_the_chain_computes_in_the_type_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TYPES:
        recipe = f"{tiny_results.SGD}, precision: {name}"
        text = tiny_results.SETTING.format(
            module=tiny_results.MODULE, dataset="blobs", model="net", recipe=recipe, more=""
        )
        monkeypatch.setitem(tiny_results.SETTINGS, name, text)
    tiny_results.make_results(tmp_path / "lab", dict.fromkeys(TYPES, METHODS), {})
    results = tmp_path / "lab/results"
    plain = {method: load_file(results / f"float32/scores/{method}.safetensors") for method in METHODS}
    for name, dtype in TYPES.items():
        x = load_file(results / name / "data/train.safetensors")["x"]
        final = load_file(results / name / "ensemble/member-000/final.safetensors")
        features = load_file(results / name / "features/gradients-000.safetensors")
        assert {value.dtype for value in (x, *final.values(), *features.values())} == {dtype}
        training = json.loads((results / name / "ensemble/member-000/training.json").read_text())
        assert training["precision"] == name
    for name, largest in CLOSE.items():
        for method in METHODS:
            path = results / name / f"scores/{method}.safetensors"
            if (name, method) == (
                "bf16",
                "magic",
            ):  # a replay in bfloat16 would not be the training's derivative
                assert not path.exists()
                continue
            found, expected = load_file(path)["scores"], plain[method]["scores"]
            assert found.dtype == torch.float32
            assert float((found - expected).norm()) < largest * float(expected.norm()), (name, method)
            assert not torch.equal(found, expected) or method == "rps"
