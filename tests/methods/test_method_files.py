"""Every file in configs/methods names a family that exists and hyper-parameters that it has."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from proponent.methods.inputs import NEEDS

FILES = sorted(Path(__file__, "../../../configs/methods").resolve().glob("*.yaml"))


def load(path: Path) -> tuple[dict, ModuleType]:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config, importlib.import_module(f"proponent.methods.{config['family']}")


def test_the_names_that_are_promised_are_there() -> None:
    promised = {
        *("random", "same-label", "similarity-cosine", "similarity-dot"),
        *("graddot", "gradcos", "tracin", "tracin-last"),
        *("if-exact", "if-cg", "rps", "trak", "trak-10", "trak-projected"),
        *("if-lissa", "if-arnoldi", "datainf", "kfac", "ekfac", "relatif", "if-exact-10", "ekfac-10"),
        *("logra", "grass", "factgrass", "trackstar"),
        *("source", "source-fast", "source-adam", "dvemb", "magic", "less", "tracin-we"),
    }
    assert promised <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_function_keeps_to_the_convention(path: Path) -> None:
    _, module = load(path)
    parameters = inspect.signature(module.attribute).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert len(positional) + len(keywords) == len(parameters)
    assert positional
    assert {p.name for p in positional} <= set(NEEDS)
    assert all(p.default is p.empty for p in positional)
    assert all(p.default is not p.empty for p in keywords)
    for parameter in keywords:
        kind = str(parameter.annotation).split("[")[0]
        assert kind in {"bool", "int", "float", "str", "Literal", "list"}, parameter
    assert module.__doc__
    if hasattr(module, "finish"):
        finish = list(inspect.signature(module.finish).parameters.values())
        assert finish[0].name == "scores"
        assert {p.name for p in finish[1:]} <= {"data", "retrainings", "permutations"}
        assert {p.kind for p in finish} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_self_influence_takes_the_same_hyper_parameters(path: Path) -> None:
    _, module = load(path)
    if hasattr(module, "self_influence"):
        own, shared = (
            {name: (p.kind, p.annotation) for name, p in inspect.signature(function).parameters.items()}
            for function in (module.self_influence, module.attribute)
        )
        assert own == shared, "the same arguments; only defaults may differ"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hyper_parameters_exist_and_the_grid_fits_the_budget(path: Path) -> None:
    config, module = load(path)
    keywords = {
        p.name for p in inspect.signature(module.attribute).parameters.values() if p.kind is p.KEYWORD_ONLY
    }
    grid = config.get("tune", {}).get("grid", {})
    assert set(config.get("params", {})) | set(grid) <= keywords
    assert not set(config.get("params", {})) & set(grid)
    if grid:
        points = 1
        for values in grid.values():
            points *= len(values)
        assert points <= config["tune"]["budget"], "points beyond the budget would never be tried"
        assert "damping" not in grid or list(grid)[-1] == "damping", (
            "dampings of one matrix are asked in a row"
        )
    sentence = config["description"]
    assert sentence.endswith(".")
    assert ". " not in sentence
