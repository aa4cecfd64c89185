"""Inner products of outer products under a diagonal metric, against the sum over all coordinates in float64."""

from __future__ import annotations

import pytest
import torch

from proponent.features.curvature import diagonal_products
from proponent.features.curvature.diagonal_products import Sides, diagonal_inner, squares_inner


def written_out(query: Sides, train: Sides, diagonal: torch.Tensor) -> torch.Tensor:
    sides = (query.left, query.right, diagonal, train.left, train.right)
    return torch.einsum("qj,qk,jk,ij,ik->qi", *(side.double() for side in sides))


def curved(rows: int, columns: int, n: int, m: int) -> tuple[Sides, Sides, torch.Tensor]:
    """Return coordinates whose mean squares fall by powers of ten, and the inverse of their damped, noisy curvature."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left, right = torch.logspace(0, -4, rows).double(), torch.logspace(0, -7, columns).double()
    query, train = (Sides(draw(k, rows) * left.sqrt(), draw(k, columns) * right.sqrt()) for k in (m, n))
    values = torch.outer(left, right) * (1 + 0.3 * draw(rows, columns)).clamp_min(0.1)
    return query, train, 1 / (values + values.mean())


def as_float(sides: Sides) -> Sides:
    return Sides(sides.left.float(), sides.right.float())


@pytest.mark.parametrize("shape", [(3, 2), (40, 70), (70, 40), (1, 33)])
@pytest.mark.parametrize("m", [1, 7])
def test_in_float64_they_are_the_sum_over_all_coordinates(shape, m):
    query, train, diagonal = curved(*shape, 530, m)
    found = diagonal_inner(query, train, diagonal)
    torch.testing.assert_close(found, written_out(query, train, diagonal), rtol=1e-11, atol=1e-12)


def test_in_float32_most_of_a_flat_metric_is_not_summed_one_by_one(monkeypatch):
    """The error is that of the plain product in float32, also for a query with coordinates in flat directions alone."""
    query, train, diagonal = curved(48, 320, 600, 20)
    query.right[0] = torch.where(torch.arange(320) < 200, 0.0, 1.0)
    exact = written_out(query, train, diagonal)
    summed = []
    in_full = diagonal_products._add_in_full
    monkeypatch.setattr(
        diagonal_products, "_add_in_full", lambda *given: summed.append(given[3].numel()) or in_full(*given)
    )
    single = as_float(query), as_float(train)
    found = diagonal_inner(*single, diagonal.float()).double()
    outer = [(side.left[:, :, None] * side.right[:, None, :]).flatten(1) for side in single]
    plain = ((outer[0] * diagonal.float().flatten()) @ outer[1].T).double()
    size = exact.square().mean(1, keepdim=True).sqrt()
    worst = [((value - exact) / size).square().mean(1).sqrt().max() for value in (found, plain)]
    assert sum(summed) < 0.75 * 3 * 320
    assert worst[0] < 2 * worst[1] + 1e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_gradients_they_are_zero(dtype):
    nothing = Sides(torch.zeros(4, 20, dtype=dtype), torch.zeros(4, 40, dtype=dtype))
    assert not diagonal_inner(nothing, nothing, torch.rand(20, 40, dtype=dtype)).any()


def test_squares_are_weighted_sums_of_squared_coordinates():
    query, _, weights = curved(5, 9, 2, 6)
    expected = torch.einsum("nj,nk,jk->n", query.left.square(), query.right.square(), weights)
    torch.testing.assert_close(squares_inner(query, weights), expected)
