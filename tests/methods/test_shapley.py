"""Shapley and Beta Shapley values: exact over all orders, and the effects of truncation, stopping and blocks."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.fakes import Retrainings
from oracles import games
from proponent.methods.valuation.shapley import attribute, permutation_values

N = 6


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Return a random game with two queries; row k is the value of the subset with binary number k."""
    return np.random.default_rng(0).normal(size=(2**N, 2))


def orders_of(table: np.ndarray, orders: list[tuple[int, ...]]) -> Retrainings:
    """Return the values of the game along orders, from no example to all examples."""
    places = torch.tensor(orders).argsort(1)
    masks = places[:, None] < torch.arange(N + 1)[:, None]
    rows = (masks * 2 ** torch.arange(N)).sum(2)
    return Retrainings(masks, torch.from_numpy(table)[rows])


@pytest.mark.parametrize("alpha, beta", [(1, 1), (16, 1), (4, 1), (1, 4), (1, 16)])
def test_over_all_orders_the_values_are_the_definition(table: np.ndarray, alpha: float, beta: float) -> None:
    everything = orders_of(table, list(permutations(range(N))))
    found = permutation_values(everything, float(alpha), float(beta), truncation=0.0, convergence=0.0)
    expected = np.stack([games.beta_shapley(table[:, q], N, alpha, beta) for q in range(2)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if alpha == beta:
        np.testing.assert_allclose(found.sum(1), table[-1] - table[0], atol=1e-12, err_msg="efficiency")


def test_null_players_have_value_zero_and_equal_players_equal_values() -> None:
    masks = games.all_subsets(N)
    table = np.sqrt(masks[:, :2].sum(1) + 3 * masks[:, 2])[:, None].repeat(2, 1)
    orders = orders_of(table, list(permutations(range(N))))
    values = permutation_values(orders, truncation=0.0, convergence=0.0)
    assert values[:, 3:].abs().max() < 1e-14
    torch.testing.assert_close(values[:, 0], values[:, 1])
    assert (values[:, 2] > values[:, 0]).all()


def by_hand(joined: list[int], values: list[float], truncation: float = 0.0) -> list[float]:
    """Return the values from one order of four examples in blocks of one."""
    masks = torch.tensor(joined).argsort()[None, None] < torch.arange(1, 5)[:, None]
    targets = torch.tensor(values)[None, :, None]
    return permutation_values(Retrainings(masks, targets), truncation=truncation)[0].tolist()


def test_an_order_gives_each_example_its_contribution() -> None:
    assert by_hand([2, 0, 3, 1], [1.0, 4.0, 6.0, 6.5]) == [3.0, 0.5, 0.0, 2.0]


def test_nothing_counts_after_a_prefix_within_the_truncation() -> None:
    """v(all) - v(first) is 10, so a truncation of .2 applies to distances below 2."""
    assert by_hand([0, 1, 2, 3], [0.0, 9.0, 5.0, 10.0], truncation=0.2) == [0.0, 9.0, 0.0, 0.0]
    assert by_hand([0, 1, 2, 3], [0.0, 7.0, 5.0, 10.0], truncation=0.2) == [0.0, 7.0, -2.0, 5.0]


def additive_blocks(n_orders: int) -> tuple[Retrainings, Tensor]:
    """Return orders of 40 examples in blocks of 8 whose game is additive, and its weights."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(1, 40, generator=generator, dtype=torch.float64)
    places = torch.rand(n_orders, 40, generator=generator).argsort(1).argsort(1)
    masks = places[:, None] < torch.arange(8, 41, 8)[:, None]
    return Retrainings(masks, masks.double() @ weights.T), weights


def test_blocks_rank_an_additive_game() -> None:
    orders, weights = additive_blocks(2000)
    found = permutation_values(orders, truncation=0.0, convergence=0.0)
    assert np.corrcoef(found[0], weights[0])[0, 1] > 0.97


@pytest.mark.slow
def test_orders_after_convergence_are_not_used() -> None:
    orders, _ = additive_blocks(3000)
    stopped = permutation_values(orders, truncation=0.0, convergence=0.05)
    matches = [
        count
        for count in range(100, 3000, 100)
        if torch.equal(
            stopped,
            permutation_values(
                Retrainings(orders.masks[:count], orders.targets[:count]), truncation=0.0, convergence=0.0
            ),
        )
    ]
    assert len(matches) == 1
    assert 200 <= matches[0] < 3000


def test_the_method_truncates_and_stops() -> None:
    orders, _ = additive_blocks(3000)
    expected = permutation_values(orders, 4.0, 1.0, truncation=0.01, convergence=0.05)
    assert torch.equal(attribute(orders, alpha=4.0), expected)
    assert not torch.equal(expected, permutation_values(orders, 4.0, 1.0, truncation=0.0, convergence=0.05))
    assert not torch.equal(expected, permutation_values(orders, 4.0, 1.0, truncation=0.01, convergence=0.0))
