"""Random projections are products with one matrix, unbiased, and the same for factored and dense gradients."""

from __future__ import annotations

import math

import pytest
import torch

from features.models import build, target_gradients
from proponent.errors import UserError
from proponent.features.gradients import projection
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.gradients.projection import BUCKETS, KINDS
from proponent.features.storage_choice import choose_storage
from proponent.settings.tasks import Classification

TASK = Classification()


def block_of(name, n=6):
    module, x, y = build(name, n)
    return target_gradients(module, TASK, x, y)[0]


def projection_matrix(name, shape, dim, kind, seed):
    """Return the matrix of a projection, (number of elements, dim): the projections of the unit vectors."""
    units = torch.eye(math.prod(shape), dtype=torch.float64)
    return DenseGradients(units, {name: shape}, ()).project(dim, kind, seed).values


@pytest.fixture
def small_blocks(monkeypatch):
    """Draw matrices in blocks of 512 coordinates, so that a few of them have few unit vectors."""
    monkeypatch.setattr(projection, "BLOCK_COORDINATES", 512)
    return 512


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mlp", "conv2d", "tied", "by-hand", "cross-attention"])
def test_a_projection_is_a_product_with_its_matrix(name, kind):
    block = block_of(name)
    matrix = torch.cat([projection_matrix(n, shape, 16, kind, 3) for n, shape in block.parameters.items()])
    torch.testing.assert_close(block.project(16, kind, 3).dense(), block.dense() @ matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_written_out_gradients_are_projected_alike(kind):
    block = block_of("tied")
    written = DenseGradients(block.dense(), block.parameters, block.last)
    torch.testing.assert_close(written.project(16, kind, 3).values, block.project(16, kind, 3).values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(kind):
    block = block_of("mlp")
    first, again, other = (block.project(16, kind, seed).values for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_matrices_that_are_kept_are_those_drawn_anew(monkeypatch):
    """Examples come in chunks, each of which needs the whole matrix."""
    block = block_of("mlp")
    kept = [block.project(16, "sparse", 3).values for _ in range(2)]
    monkeypatch.setattr(projection, "_kept_sparse", projection._sparse)
    drawn = block.project(16, "sparse", 3).values
    assert all(torch.equal(values, drawn) for values in kept)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_unbiased(kind):
    """Within three standard errors over 400 seeds, for every pair of examples."""
    block = block_of("mlp", 4)
    exact = block.inner(block)
    draws = torch.stack([_inner(block, kind, seed) for seed in range(400)])
    standard_error = draws.std(0) / len(draws) ** 0.5
    assert standard_error.min() > 0
    assert ((draws.mean(0) - exact).abs() < 3 * standard_error).all()


def _inner(block, kind, seed):
    projected = block.project(32, kind, seed)
    return projected.inner(projected)


def test_a_sparse_projection_has_one_entry_in_each_group_of_buckets(small_blocks):
    dim, shape = 10, (8, small_blocks)
    matrix = projection_matrix("w", shape, dim, "sparse", 0)
    assert matrix.shape == (8 * small_blocks, dim)
    assert (matrix != 0).sum(1).eq(BUCKETS).all()
    assert torch.allclose(matrix.square().sum(1), torch.ones(len(matrix), dtype=torch.float64))
    per_bucket = (matrix != 0).sum(0) / len(matrix)
    assert per_bucket.min() > 0.3
    assert per_bucket.max() < 0.55


def test_blocks_of_coordinates_have_draws_of_their_own(small_blocks):
    matrix = projection_matrix("w", (2, small_blocks), 8, "rademacher", 0)
    first, second = matrix.split(small_blocks)
    assert not torch.equal(first, second)
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, 8**-0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_kept_exactly_in_addition_to_a_projection(kind):
    block = block_of("mlp")
    torch.testing.assert_close(block.project(16, kind, 3).last_layer().dense(), block.last_layer().dense())


def test_projections_that_differ_cannot_be_compared():
    block = block_of("mlp")
    with pytest.raises(ValueError, match="cannot compare rademacher-16-3 with rademacher-16-4"):
        block.project(16, "rademacher", 3).inner(block.project(16, "rademacher", 4))
    with pytest.raises(ValueError, match="cannot compare"):
        block.inner(block.project(16, "rademacher", 4))


def test_unknown_kinds_and_too_few_dimensions_are_refused():
    block = block_of("mlp")
    with pytest.raises(UserError, match="'fjlt' is not known; use one of rademacher, gaussian, sparse"):
        block.project(16, "fjlt", 0)
    with pytest.raises(UserError, match="3 dimensions is too small"):
        block.project(3, "sparse", 0)


def test_factors_are_stored_if_they_fit_and_otherwise_the_largest_projection_that_does():
    assert choose_storage(1000, 200, 50, 4, 1).choice == "factored"
    projected = choose_storage(1000, 10**6, 50, 4, 5)
    assert (projected.choice, projected.dim) == ("projected", 1024)
    assert projected.bytes == 1000 * (1024 + 50) * 4 <= 5 * 2**20
    assert projected.factored_bytes == 4 * 10**9
    with pytest.raises(UserError, match=r"takes 3 MiB and 2 are allowed: raise compute\.memory_mib"):
        choose_storage(1000, 10**6, 50, 4, 2)


def test_a_last_layer_with_large_gradients_is_projected_too():
    """That of a language model with a large vocabulary; its factors alone would not fit."""
    found = choose_storage(1000, 10**6, 10**5, 4, 10)
    assert (found.choice, found.dim, found.last_dim) == ("projected", 2048, 512)
    assert found.bytes == 1000 * (2048 + 512) * 4
    with pytest.raises(UserError, match=r"takes 4 MiB and 3 are allowed"):
        choose_storage(1000, 10**6, 10**5, 4, 3)
