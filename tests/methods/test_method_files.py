"""Every file in configs/methods names an existing family and existing hyper-parameters."""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from proponent.methods.shared.needs import NEEDS

FILES = sorted(Path(__file__, "../../../configs/methods").resolve().glob("*.yaml"))
METHODS = Path(__file__, "../../../src/proponent/methods").resolve()


def load(path: Path) -> tuple[dict, ModuleType]:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    (module,) = METHODS.glob(f"*/{config['family']}.py")
    return config, importlib.import_module(f"proponent.methods.{module.parent.name}.{module.stem}")


def test_the_promised_names_exist() -> None:
    promised = {
        *("random", "same-label", "similarity-cosine", "similarity-dot"),
        *("graddot", "gradcos", "tracin", "tracin-last"),
        *("if-exact", "if-cg", "rps", "trak", "trak-projected"),
        *("if-lissa", "if-arnoldi", "datainf", "kfac", "ekfac", "relatif"),
        *("logra", "grass", "factgrass", "trackstar"),
        *("source", "source-fast", "source-adam", "dvemb", "magic", "less", "tracin-we"),
        *("trak-dropout", "trak-lora", "bm25", "tfidf", "dualda"),
        *("datamodels", "datamodels-ridge", "empirical-influence", "banzhaf", "data-shapley", "beta-shapley"),
        *("knn-shapley", "data-oob", "lava", "airrep", "airrep-text", "aum", "el2n", "grand", "forgetting"),
    }
    assert promised <= {path.stem for path in FILES}


KINDS = {
    "baselines": (4, ["similarity-cosine", "similarity-dot", "bm25", "tfidf"]),
    "gradient similarity": (4, ["graddot", "gradcos", "tracin", "tracin-last", "tracin-we", "less"]),
    "influence": (
        9,
        [
            *("if-exact", "if-cg", "if-arnoldi", "datainf"),
            *("kfac", "ekfac", "relatif"),
        ],
    ),
    "projected influence": (9, ["logra", "grass", "factgrass", "trackstar"]),
    "representer points": (4, ["rps", "dualda"]),
    "nearest neighbours": (8, ["knn-shapley"]),
    "TRAK, alone and as a prior": (
        12,
        ["trak", "trak-projected", "datamodels-prior"],
    ),
    "variants of a member": (6, ["trak-dropout", "trak-lora"]),
    "unrolling": (4, ["source", "source-fast", "source-adam"]),
    "learning from retrainings": (
        2,
        ["datamodels", "datamodels-ridge", "beta-shapley", "airrep", "airrep-text"],
    ),
}
FEWER = {
    "if-lissa": (
        1,
        "the truncation of its series damps more than the grid would, and each candidate takes minutes",
    ),
    "datamodels-mixed": (4, "its methods have been tuned already, and only their share is chosen"),
    "trak-20-path": (4, "checkpoints are averaged instead of chosen, and the weighting is fixed"),
    "datamodels-prior-20-path": (4, "checkpoints are averaged instead of chosen, and the weighting is fixed"),
}
NOTHING_TO_CHOOSE = [
    *("random", "same-label", "dvemb", "magic", "data-oob", "lava"),
    *("empirical-influence", "banzhaf", "data-shapley"),
    *("aum", "el2n", "grand", "forgetting"),
]


def number_of_candidates(config: dict) -> int:
    grid = config.get("tune", {}).get("grid", {})
    return math.prod(len(values) for values in grid.values())


def test_methods_of_a_kind_try_the_same_number_of_candidates() -> None:
    """More candidates give a better best score, so methods of a kind get the same number, or there is a reason above."""
    tried = {path.stem: number_of_candidates(load(path)[0]) for path in FILES}
    for kind, (count, names) in KINDS.items():
        assert {name: tried.pop(name) for name in names} == dict.fromkeys(names, count), kind
    assert {name: tried.pop(name) for name in FEWER} == {name: count for name, (count, _) in FEWER.items()}
    assert {name: tried.pop(name) for name in NOTHING_TO_CHOOSE} == dict.fromkeys(NOTHING_TO_CHOOSE, 1)
    assert not tried, "every method belongs to a kind"


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
def test_self_influence_declares_no_hyper_parameter_of_its_own(path: Path) -> None:
    _, module = load(path)
    if not hasattr(module, "self_influence"):
        assert not hasattr(module, "SELF_INFLUENCE")
        return
    own, declared = (
        inspect.signature(function).parameters for function in (module.self_influence, module.attribute)
    )
    assert [name for name, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        name for name, p in declared.items() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    for name, parameter in own.items():
        assert parameter.kind is declared[name].kind
        assert parameter.annotation == declared[name].annotation
        assert parameter.default is parameter.empty, "attribute has the only defaults"
    used = {name for name, p in own.items() if p.kind is p.KEYWORD_ONLY}
    assert set(getattr(module, "SELF_INFLUENCE", {})) <= used


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
        assert number_of_candidates(config) <= config["tune"]["budget"], (
            "candidates beyond the budget would never be tried"
        )
        assert "damping" not in grid or list(grid)[-1] == "damping", (
            "dampings that share a matrix are tried in a row"
        )
    sentence = config["description"]
    assert sentence.endswith(".")
    assert ". " not in sentence
