"""Positive scores are proponents: a copy of the query among the training examples, with its label, must help it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from methods.fakes import World, inputs_of, mlp_world
from proponent.attribution.member_mean import MemberMean
from proponent.methods.baselines import same_label, similarity
from proponent.methods.gradient_similarity import graddot, tracin
from proponent.methods.influence import datainf, ekfac, if_arnoldi, if_cg, if_exact, if_lissa
from proponent.methods.learned import airrep, datamodels, datamodels_mixed, datamodels_prior, datamodels_ridge
from proponent.methods.projected_influence import grass, logra, trackstar
from proponent.methods.representer import dualda, rps
from proponent.methods.trak import trak
from proponent.methods.unrolling import source
from proponent.methods.valuation import knn_shapley, mean_difference, shapley

FAMILIES = {
    module.__name__.rsplit(".", 1)[1]: module
    for module in (
        *(airrep, datamodels, datamodels_mixed, datamodels_prior, datamodels_ridge, mean_difference),
        *(datainf, ekfac, grass, if_arnoldi, if_lissa, logra, trackstar),
        *(dualda, graddot, if_cg, if_exact, knn_shapley, rps, same_label, shapley, similarity, tracin, trak),
        source,
    )
}
FILES = sorted(Path(__file__, "../../../configs/methods").resolve().glob("*.yaml"))
ELSEWHERE = {
    "bm25": "methods/test_text.py::test_a_copy_is_the_strongest_proponent_and_labels_may_sign",
    "tfidf": "methods/test_text.py::test_a_copy_is_the_strongest_proponent_and_labels_may_sign",
    "tracin_we": "methods/test_unrolling.py::test_a_text_that_is_a_copy_of_the_query_is_a_proponent_due_to_its_words",
    "less": "methods/test_unrolling.py::test_a_copy_of_the_query_is_a_proponent",
    "dvemb": "methods/test_unrolling.py::test_a_copy_of_the_query_is_a_proponent",
    "magic": "methods/test_unrolling.py::test_a_copy_of_the_query_is_a_proponent",
    "source_adam": "methods/test_unrolling.py::test_a_copy_of_the_query_is_a_proponent_for_adam",
    "trak_variants": "features/test_variants.py::test_a_copy_of_the_query_is_a_proponent",
    "airrep_text": "methods/test_airrep_text.py::test_texts_of_the_class_that_raises_a_query_are_proponents",
    "data_oob": "methods/test_valuation.py::test_wrong_labels_have_low_values",
    "lava": "methods/test_valuation.py::test_wrong_labels_have_low_values",
}
"""Families that need words, a replay or variants, or that ignore the queries; and the test of their sign."""
OF_EITHER_SIGN = {"random_scores", "aum", "el2n", "grand", "forgetting"}
"""Families whose scores say how difficult an example is, or nothing: tests/methods/test_difficulty.py."""
CONFIGS = {
    path.stem: config for path in FILES if (config := yaml.safe_load(path.read_text()))["family"] in FAMILIES
}


def test_every_family_has_a_test_of_its_sign() -> None:
    families = {yaml.safe_load(path.read_text())["family"] for path in FILES}
    assert families == {*FAMILIES, *ELSEWHERE, *OF_EITHER_SIGN}
    for family, where in ELSEWHERE.items():
        file, _, test = where.partition("::")
        text = Path(__file__, "../..", file).resolve().read_text()
        assert f"def {test}(" in text, where
        assert family in text, where


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network before it has fitted everything; queries 0 to 5 are copies of training examples."""
    world = mlp_world(n=60, steps=40)
    return world.at_queries(world.x_train[:6].clone(), world.y_train[:6].clone())


def scores_of(module: ModuleType, world: World, params: dict[str, object]) -> Tensor:
    """Return the scores that the attribution step computes from a method's functions for one member."""
    if module is if_lissa:
        params = {**params, "batch": len(world.x_train)}  # batches of this dense world take seconds
    found = module.attribute(**inputs_of(module, world), **params)
    if isinstance(found, np.ndarray):
        return torch.from_numpy(found)
    if isinstance(found, dict):
        return found["scores"]
    mean = MemberMean()
    mean.add(found)
    if not hasattr(module, "finish"):
        return mean.scores()
    return module.finish(mean.scores(), **inputs_of(module, world, "finish"))


def positional(function: Callable[..., object]) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_copy_of_the_query_is_a_proponent(name: str, world: World) -> None:
    module, params = FAMILIES[CONFIGS[name]["family"]], CONFIGS[name].get("params", {})
    if "projection_dim" in params:  # the file's value is far above the 43 parameters here
        params = {**params, "projection_dim": 30}
    scores = scores_of(module, world, params)
    assert scores.shape == (6, 60)
    copies = scores[torch.arange(6), torch.arange(6)]
    assert (copies > 0).all()
    assert (copies > scores.mean(1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("same-label",)])
def test_the_copy_with_another_label_is_worse(name: str, world: World) -> None:
    """Only plain similarities ignore labels, and their configuration states it."""
    module, params = FAMILIES[CONFIGS[name]["family"]], CONFIGS[name].get("params", {})
    if module is similarity:
        params = {**params, "labels": "signed"}
    if "projection_dim" in params:
        params = {**params, "projection_dim": 30}
    flipped = world.at_queries(world.x_query, (world.y_query + 1) % 3)
    values = [
        scores_of(module, asked, params)[torch.arange(6), torch.arange(6)] for asked in (world, flipped)
    ]
    assert (values[1] < values[0]).all()
