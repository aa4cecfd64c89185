"""Projections from both sides, and masks, are products with known matrices, and unbiased."""

from __future__ import annotations

import pytest
import torch

from features.models import build, target_gradients
from proponent.errors import UserError
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.per_parameter import RowsPart, WeightPart, parameter_spans
from proponent.features.gradients.two_sided_projection import coordinates, project_sides
from proponent.settings.tasks import Classification

NAMES = ["mlp", "sequence", "conv2d", "embedding", "layer-norm", "encoder-layer", "cross-attention", "tied"]
NAMES += ["by-hand", "shared"]


def block_of(name, n=5):
    module, x, y = build(name, n)
    return target_gradients(module, Classification(), x, y)[0]


def written(block, index):
    """Return one layer's gradients as (n, rows, columns), with the bias as the last column."""
    part, spans, dense = block.parts[index], parameter_spans(block.parameters), block.dense()
    rows = block.parameters[part.name][0] if hasattr(part, "rows") else 1
    return torch.cat([dense[:, spans[name]].reshape(len(block), rows, -1) for name in part.names], 2)


def matrix_of(kind, width, name, which):
    """Return the matrix of one side, (width, k): projections of unit vectors whose other side is the number 1."""
    units = torch.eye(width, dtype=torch.float64)
    vectors, ones = Factor(units[:, None]), Factor(torch.ones(width, 1, 1, dtype=torch.float64))
    part = {
        "rows": RowsPart(name, units),
        "left": WeightPart(name, width, 1, (Term(vectors, ones),)),
        "right": WeightPart(name, 1, width, (Term(ones, vectors),)),
    }[which]
    return project_sides(part, 3, kind, 3, None)


@pytest.mark.parametrize("kind", ["gaussian", "mask"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_projection_is_the_kronecker_product_of_its_sides(name, kind, scaled):
    block = block_of(name)
    scale = torch.rand(block.n_parameters, dtype=torch.float64) if scaled else None
    spans = parameter_spans(block.parameters)
    for index, layer in enumerate(block.project_sides(3, kind, 3, scale)):
        gradient, part = written(block, index), block.parts[index]
        n, rows, columns = gradient.shape
        if scaled:
            gradient = gradient * torch.cat([scale[spans[p]].reshape(rows, -1) for p in part.names], 1)
        if rows == 1 and not hasattr(part, "rows"):
            matrix = matrix_of(kind, columns, part.name, "rows")
        else:
            left = matrix_of(kind, rows, part.name, "left")
            right = matrix_of(kind, columns, part.name, "right")
            matrix = torch.kron(left.contiguous(), right.contiguous())
        torch.testing.assert_close(layer.dense(), gradient.reshape(n, -1) @ matrix)
        assert layer.n_parameters <= 9


@pytest.mark.parametrize("name", NAMES)
def test_sides_that_are_wide_enough_keep_all_inner_products(name):
    block = block_of(name)
    for kind in ("gaussian", "mask"):
        layers = block.project_sides(100, kind, 0)
        torch.testing.assert_close(sum(layer.inner(layer) for layer in layers), block.inner(block))


@pytest.mark.parametrize("kind", ["gaussian", "mask"])
def test_inner_products_are_unbiased(kind):
    """Within three standard errors over 400 seeds, for every pair of examples."""
    block = block_of("mlp", 4)
    draws = torch.stack(
        [sum(layer.inner(layer) for layer in block.project_sides(3, kind, seed)) for seed in range(400)]
    )
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - block.inner(block)).abs() < 3 * error).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    block = block_of("mlp")
    for kind in ("gaussian", "mask"):
        first, again, other = (block.project_sides(3, kind, seed)[0].values for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_selects_columns(name):
    block = block_of(name)
    count = block.n_parameters // 2
    chosen = coordinates(block.n_parameters, count, 7)
    assert len(chosen.unique()) == count
    expected = block.dense()[:, chosen] * (block.n_parameters / count) ** 0.5
    torch.testing.assert_close(block.mask(count, 7).dense(), expected)
    torch.testing.assert_close(block.mask(10**6, 7).dense(), block.dense())
    torch.testing.assert_close(block.project(16, "sparse", 0).mask(8, 7).dense().shape, torch.Size([5, 8]))


@pytest.mark.parametrize("name", NAMES)
def test_mean_squares(name):
    block = block_of(name)
    weights = torch.rand(len(block), dtype=torch.float64)
    expected = ((weights[:, None] * block.dense()) ** 2).mean(0)
    torch.testing.assert_close(block.mean_squares(weights), expected)
    projected = block.project(16, "gaussian", 0)
    expected = ((weights[:, None] * projected.dense()) ** 2).mean(0)
    torch.testing.assert_close(projected.mean_squares(weights), expected)


def test_unknown_kinds_and_projected_gradients_are_refused():
    block = block_of("mlp")
    with pytest.raises(UserError, match="'sparse' of two sides is not known; use one of gaussian, mask"):
        block.project_sides(3, "sparse", 0)
    with pytest.raises(UserError, match=r"have no two sides to project: raise compute\.memory_mib"):
        block.project(16, "gaussian", 0).project_sides(3, "gaussian", 0)
