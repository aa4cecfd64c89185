"""Baselines without gradients, and representer points, against their definitions and scikit-learn."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from methods.array_data import as_arrays
from methods.fakes import Checkpoints, World, mlp_world
from oracles import representer
from oracles.similarity import similarity as oracle
from proponent.errors import UserError
from proponent.methods.baselines import random_scores, same_label, similarity
from proponent.methods.representer import rps
from proponent.methods.shared.needs import Workspace


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random_scores", "same_label", "bm25", "tfidf"])
def test_baselines_on_arrays_start_without_torch(method: str) -> None:
    program = (
        f"import sys; from proponent.methods.baselines import {method}; "
        f"assert {method}.ARRAYS == 'numpy'; sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def test_random_scores_are_standard_normal_and_depend_on_the_seed_only() -> None:
    data = as_arrays(mlp_world(n=300, n_query=40, steps=1))
    scores = random_scores.attribute(data, seed=1)
    assert scores.shape == (40, 300)
    assert scores.dtype == np.float32
    assert abs(scores.mean()) < 0.05
    assert abs(scores.std() - 1) < 0.05
    np.testing.assert_array_equal(scores, random_scores.attribute(data, seed=1))
    assert (scores != random_scores.attribute(data, seed=2)).any()


def test_same_label_is_the_indicator() -> None:
    data = as_arrays(mlp_world())
    scores = same_label.attribute(data)
    assert scores.dtype == np.float32
    for q, y in enumerate(data.y_query):
        for i, other in enumerate(data.y_train):
            assert scores[q, i] == float(y == other)


@pytest.mark.parametrize("kind", ["cosine", "dot"])
def test_similarity_is_that_of_scikit_learn(kind: str) -> None:
    world = mlp_world()
    pair = world.representations().at(1.0)
    expected = oracle(pair.query.numpy(), pair.train.numpy(), kind)
    scores = similarity.attribute(world, world.representations(), kind=kind)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12)
    signed = similarity.attribute(world, world.representations(), kind=kind, labels="signed")
    same = world.y_query.numpy()[:, None] == world.y_train.numpy()
    np.testing.assert_allclose(signed.numpy(), np.where(same, expected, -expected), rtol=1e-12)


def test_a_representation_of_zeros_has_cosine_zero() -> None:
    world = mlp_world()
    path = world.representations()
    path.at(1.0).train[2] = 0
    assert (similarity.attribute(world, path)[:, 2] == 0).all()


def with_bias(world: World, which: str) -> np.ndarray:
    features = getattr(world.representations().at(1.0), which).numpy()
    return np.hstack([features, np.ones((len(features), 1))])


@pytest.mark.parametrize("lam", [1e-4, 0.003, 0.1])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_representer_points_add_up_to_the_logits_of_scikit_learn(lam: float, n_classes: int) -> None:
    world = mlp_world(n=40, n_classes=n_classes)
    weights = representer.last_layer(with_bias(world, "train"), world.y_train.numpy(), lam)
    logits = with_bias(world, "query") @ weights
    expected = logits[np.arange(len(logits)), world.y_query.numpy()]
    scores = rps.attribute(world, world.representations(), Workspace(), regularisation=lam)
    np.testing.assert_allclose(scores.sum(1).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_representer_values_are_error_over_regularisation() -> None:
    world = mlp_world(n=40)
    lam = 0.01
    weights = representer.last_layer(with_bias(world, "train"), world.y_train.numpy(), lam)
    p = torch.from_numpy(with_bias(world, "train") @ weights).softmax(1)
    expected = (1 - p.gather(1, world.y_train[:, None])[:, 0]) / (2 * lam * 40)
    own = rps.self_influence(world, world.representations(), Workspace(), regularisation=lam, checkpoint=1.0)
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-7)


def test_a_fit_that_cannot_become_stationary_is_refused() -> None:
    """The last layer has no minimum for separable classes without regularisation."""
    world = mlp_world(n_classes=2)
    far = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None] * 1e4
    world.y_train = (far[:, 0] > 0).long()
    path = Checkpoints({1.0: type(world.representations().at(1.0))(far, far)})
    with pytest.raises(UserError, match=r"not stationary .* raise 'regularisation'"):
        rps.attribute(world, path, Workspace(), regularisation=1e-18)
