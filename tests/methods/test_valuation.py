"""Values of examples without retraining: KNN-Shapley, Data-OOB and LAVA against their definitions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oracles.games import all_subsets, beta_shapley
from oracles.valuation import gaussian_distance, out_of_bag, transport
from proponent.errors import UserError
from proponent.methods.shared.solvers.sinkhorn import transport_potentials
from proponent.methods.valuation import data_oob, knn_shapley, lava


def points(n: int, n_query: int, apart: float = 2.0, d: int = 3) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return data and representations of three classes with different centres."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n + n_query) % 3
    h = torch.randn(n + n_query, d, generator=generator, dtype=torch.float64)
    h[:, 0] += apart * y
    pair = SimpleNamespace(train=h[:n], query=h[n:])
    data = SimpleNamespace(y_train=y[:n], y_query=y[n:])
    return data, SimpleNamespace(at=lambda checkpoint: pair)


def votes(match: np.ndarray, neighbours: int) -> np.ndarray:
    """Return v(S) of every subset; ``match`` is sorted from near to far."""
    return np.array([match[mask][:neighbours].sum() / neighbours for mask in all_subsets(len(match))])


@pytest.mark.parametrize("neighbours", [1, 3, 5, 8, 10])
def test_knn_shapley_is_the_shapley_value_of_the_vote(neighbours: int) -> None:
    data, representations = points(8, 5)
    scores = knn_shapley.attribute(data, representations, neighbours=neighbours)
    pair = representations.at(1.0)
    for row in range(5):
        order = (pair.train - pair.query[row]).norm(dim=1).argsort()
        match = (data.y_train[order] == data.y_query[row]).double().numpy()
        game = votes(match, neighbours)
        np.testing.assert_allclose(scores[row, order], beta_shapley(game, 8, 1, 1), atol=1e-12)
        assert scores[row].sum().item() == pytest.approx(game[-1])


def test_knn_shapley_with_cosine_distances_ignores_lengths() -> None:
    data, representations = points(40, 6)
    pair = representations.at(1.0)
    lengths = torch.linspace(0.1, 10, 40, dtype=torch.float64)[:, None]
    stretched = SimpleNamespace(at=lambda _: SimpleNamespace(train=pair.train * lengths, query=pair.query))
    by_angle = [knn_shapley.attribute(data, h, distance="cosine") for h in (representations, stretched)]
    torch.testing.assert_close(*by_angle)
    assert (knn_shapley.attribute(data, stretched) != by_angle[1]).any()


def test_examples_at_the_same_distance_are_sorted_by_index() -> None:
    pair = SimpleNamespace(train=torch.zeros(6, 2), query=torch.zeros(1, 2))
    data = SimpleNamespace(y_train=torch.tensor([1, 0, 0, 0, 0, 0]), y_query=torch.tensor([1]))
    scores = knn_shapley.attribute(data, SimpleNamespace(at=lambda _: pair), neighbours=1)
    assert scores.argmax() == 0
    assert scores.sum() == 1


@pytest.mark.slow
def test_out_of_bag_values_approach_those_of_all_bootstrap_samples() -> None:
    features = np.array([[0.0], [1.0], [2.5], [5.0]])
    labels = np.array([0, 0, 1, 0])
    trees = 1500
    values = data_oob.out_of_bag(features, labels, trees, seed=0)
    expected = out_of_bag(features, labels)
    # about a third of the samples leave an example out
    error = np.sqrt(expected * (1 - expected) / (0.32 * trees)).max()
    assert np.abs(values - expected).max() < 4 * error


def test_an_example_in_all_samples_has_the_mean_of_the_others() -> None:
    features, labels = np.arange(12.0)[:, None], np.arange(12) % 2
    values = data_oob.out_of_bag(features, labels, trees=1, seed=0)
    seen = ~np.isin(values, [0.0, 1.0])
    assert seen.any()
    assert (~seen).any()
    np.testing.assert_allclose(values[seen], values[~seen].mean())
    assert (data_oob.out_of_bag(features, labels, trees=0, seed=0) == 0).all()


@pytest.mark.parametrize("n, m", [(7, 5), (5, 8)])
def test_potentials_approach_the_dual_of_the_linear_programme(n: int, m: int) -> None:
    """They are nearer for a smaller entropy. n and m are coprime, so the dual is unique up to a constant."""
    cost = np.random.default_rng(n).uniform(size=(n, m))
    _, dual = transport(cost)
    errors = []
    for strength in (0.03, 0.003):
        found = transport_potentials(torch.from_numpy(cost), strength, 200_000, 1e-9).numpy()
        errors.append(np.abs((found - found.mean()) - (dual - dual.mean())).max())
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.02


def test_differences_of_values_are_derivatives_of_the_distance_along_moved_mass() -> None:
    cost = np.random.default_rng(0).uniform(size=(7, 5))
    base, _ = transport(cost)
    f = transport_potentials(torch.from_numpy(cost), 0.002, 200_000, 1e-9).numpy()
    moved, step = np.full(7, 1 / 7), 1e-3
    for i, j in ((0, 1), (4, 2), (6, 3)):
        mass = moved.copy()
        mass[i] += step
        mass[j] -= step
        assert (transport(cost, mass)[0] - base) / step == pytest.approx(f[i] - f[j], abs=0.02)


def test_scalings_that_would_overflow_are_moved_into_the_kernel() -> None:
    cost = torch.rand(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cost[0] += 500  # far from everything
    found = transport_potentials(cost, 0.02, 100_000, 1e-8)
    assert found.isfinite().all()
    assert found[0] - found[1:].max() > 490


def test_distances_between_classes_are_those_between_gaussians() -> None:
    generator = np.random.default_rng(0)
    x, other = generator.normal(size=(30, 4)), 2 * generator.normal(size=(24, 4)) + 1
    y, y_other = np.arange(30) % 2, np.arange(24) % 3
    found = lava.class_distances(*map(torch.from_numpy, (x, y, other, y_other)))
    for row in range(2):
        for column in range(3):
            expected = gaussian_distance(x[y == row], other[y_other == column])
            assert found[row, column].item() == pytest.approx(expected, rel=1e-6)
    assert (found[2] == 0).all(), "no training example is of class 2"


def test_the_error_names_the_iterations_and_the_remedy() -> None:
    with pytest.raises(
        UserError, match=r"not converged after 1 iterations and 1 Newton steps .* raise 'entropy'"
    ):
        transport_potentials(torch.rand(9, 7, dtype=torch.float64), 1e-3, 1, 1e-12, 1)


@pytest.mark.parametrize("module", [knn_shapley, data_oob, lava])
def test_wrong_labels_have_low_values(module) -> None:
    data, representations = points(150, 60, apart=4.0)
    wrong = torch.arange(0, 150, 10)
    y = data.y_train.clone()
    y[wrong] = (y[wrong] + 1) % 3
    scores = module.attribute(SimpleNamespace(y_train=y, y_query=data.y_query), representations)
    assert scores.shape == (60, 150)
    values = scores.mean(0)
    right = torch.ones(150, dtype=torch.bool)
    right[wrong] = False
    above = (values[right][:, None] > values[wrong]).double().mean()
    assert above > 0.85


@pytest.mark.parametrize("module", [data_oob, lava])
def test_values_of_data_are_the_same_for_all_queries(module) -> None:
    data, representations = points(60, 9)
    scores = module.attribute(data, representations)
    assert (scores == scores[0]).all()
    assert scores.std(1).min() > 0
