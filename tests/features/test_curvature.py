"""Curvature against dense matrices built from Jacobians and Hessians in float64."""

# ruff: noqa: D101
from __future__ import annotations

import pytest
import torch
from torch import nn

from features.models import build
from oracles.curvature import dense_ggn, dense_hessian
from proponent.errors import UserError
from proponent.features.curvature import curvature_products
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.curvature.product_choice import is_formed
from proponent.settings.tasks import Classification, LanguageModel, Regression

TASK = Classification()
MODELS = [
    "linear",
    "linear-no-bias",
    "mlp",
    "inplace-relu",
    "conv2d",
    "embedding",
    "layer-norm",
    "encoder-layer",
]
MODELS += ["tied", "shared", "by-hand", "sequence"]


def curvature_of(module, task, x, y, **options):
    return Curvature(module, task, x, y, x[:2], y[:2], weight_decay=0.1, duration=2.0, **options)


def random_vectors(curvature, count=5):
    return torch.randn(count, curvature.n_parameters, dtype=torch.float64)


@pytest.mark.parametrize("name", MODELS)
def test_ggn_root_and_products_are_those_of_the_dense_ggn(name):
    module, x, y = build(name, 8)
    found = curvature_of(module, TASK, x, y)
    expected = dense_ggn(module, TASK.loss, x, y)
    torch.testing.assert_close(found.ggn(), expected, rtol=1e-9, atol=1e-12)
    root = found.ggn_root()
    assert len(root) == found.n_train * found.n_outputs
    torch.testing.assert_close(root.dense().T @ root.dense() / len(x), expected, rtol=1e-9, atol=1e-12)
    vectors = random_vectors(found)
    torch.testing.assert_close(found.ggn_product(vectors), vectors @ expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_hessian_and_its_products_are_those_of_the_dense_hessian(name):
    module, x, y = build(name, 8)
    found = curvature_of(module, TASK, x, y)
    expected = dense_hessian(module, TASK.loss, x, y)
    torch.testing.assert_close(found.hessian(), expected, rtol=1e-9, atol=1e-12)
    vectors = random_vectors(found)
    torch.testing.assert_close(found.hessian_product(vectors), vectors @ expected, rtol=1e-9, atol=1e-12)


def test_blocks_of_vectors_and_examples_do_not_change_a_product(monkeypatch):
    module, x, y = build("mlp", 11)
    found = curvature_of(module, TASK, x, y)
    vectors = random_vectors(found, 7)
    whole = found.ggn_product(vectors)
    monkeypatch.setattr(curvature_products, "PRODUCT_EXAMPLES", 3)
    monkeypatch.setattr(curvature_products, "PRODUCT_MIB", 0)
    torch.testing.assert_close(found.ggn_product(vectors), whole)


def test_input_columns_that_are_always_zero_have_no_curvature():
    """Such columns (the rim of an image) are left out of the products, and exactly zero in the result."""
    module, x, y = build("mlp", 8)
    x[:, 1] = 0.0
    found = curvature_of(module, TASK, x, y).ggn()
    torch.testing.assert_close(found, dense_ggn(module, TASK.loss, x, y), rtol=1e-9, atol=1e-12)
    assert found[3].abs().max() == 0


@pytest.mark.parametrize(
    ("task", "outputs", "y"),
    [
        (Regression(), (), torch.randn(6, dtype=torch.float64)),
        (Regression(), (2,), torch.randn(6, 2, dtype=torch.float64)),
        (LanguageModel(), (3, 4), torch.tensor([[0, 1, 2], [3, -100, 1], [1, 1, -100]] * 2)),
    ],
)
def test_every_task_and_shape_of_outputs(task, outputs, y):
    torch.manual_seed(1)
    size = max(1, torch.Size(outputs).numel())
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, size), nn.Unflatten(1, outputs or (1,)))
    module = nn.Sequential(module, nn.Flatten(0)) if not outputs else module
    x = torch.randn(6, 3, dtype=torch.float64)
    found = curvature_of(module.double(), task, x, y)
    expected = dense_ggn(module, task.loss, x, y)
    assert found.n_outputs == size
    torch.testing.assert_close(found.ggn(), expected, rtol=1e-9, atol=1e-12)
    root = found.ggn_root().dense()
    torch.testing.assert_close(root.T @ root / len(x), expected, rtol=1e-9, atol=1e-12)
    vectors = random_vectors(found)
    torch.testing.assert_close(found.ggn_product(vectors), vectors @ expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.hessian(), dense_hessian(module, task.loss, x, y), rtol=1e-9, atol=1e-12)


def test_it_keeps_the_parameters_that_it_was_given():
    """The step loads the next checkpoint into the same module."""
    module, x, y = build("mlp", 8)
    found = curvature_of(module, TASK, x, y)
    before, vectors = found.ggn(), random_vectors(found)
    product = found.ggn_product(vectors)
    with torch.no_grad():
        module[1].weight.mul_(2)
    torch.testing.assert_close(found.ggn(), before)
    torch.testing.assert_close(found.ggn_product(vectors), product)


class Rounds(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class StraightThrough(nn.Module):
    """A layer that lacks generate_vmap_rule, without which it cannot run one example at a time."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return Rounds.apply(self.linear(x))


def test_a_model_that_cannot_be_expressed_is_refused_by_name():
    with pytest.raises(UserError, match=r"the model \(StraightThrough\) cannot be run one example at a time"):
        curvature_of(StraightThrough(), TASK, torch.randn(4, 4), torch.zeros(4, dtype=torch.long))


def test_many_products_with_a_small_matrix_are_products_with_the_matrix_itself(monkeypatch):
    module, x, y = build("conv2d", 6)
    found = curvature_of(module, TASK, x, y)
    vectors = random_vectors(found)
    by_passes = found.ggn_product(vectors)
    monkeypatch.setattr(found._products, "ggn", None)  # no further pass is made
    torch.testing.assert_close(found.ggn_product(vectors, count=10_000), by_passes, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("n_parameters", "count", "formed"),
    [(7_690, 250, True), (7_690, 10, False), (109_386, 10_000, False)],
    ids=["many products", "few products", "a large matrix"],
)
def test_the_matrix_is_formed_where_that_is_cheaper(n_parameters, count, formed):
    assert is_formed(n_parameters, 10, 1_000_000, 4, count) is formed
