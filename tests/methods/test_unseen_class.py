"""Queries of a class that no training example has: every method that applies gives finite scores by its formula."""

from __future__ import annotations

import importlib
from functools import cache

import pytest

from methods.model_cases import CLASSES, N_QUERY, N_TRAIN, Case, mlp
from methods.test_binary import QUICK, applicable
from methods.test_model_cases import Problem


@cache
def problem() -> Problem:
    """Return a problem whose first query has the last class, which no training example has."""
    made = Problem(Case(mlp))
    made.data.y_train.remainder_(CLASSES - 1)
    made.data.y_query[0] = CLASSES - 1
    return made


@pytest.mark.parametrize("name", applicable())
def test_scores_are_finite(name: str) -> None:
    module = importlib.import_module(f"proponent.methods.{name}")
    scores = problem().results(module, QUICK.get(name, {}), 1)["scores"]
    assert scores.shape == (N_QUERY, N_TRAIN)
    assert scores.isfinite().all()
