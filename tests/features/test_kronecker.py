"""Kronecker factors and eigenvalues against hooks, ordinary backward passes and the dense GGN in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from features.models import MODELS, build
from oracles.curvature import dense_ggn
from oracles.kronecker import layer_factors, layer_sides
from proponent.features.curvature import kronecker_factors
from proponent.features.curvature.gauss_newton import sampled_cotangents
from proponent.features.curvature.member_curvature import Curvature
from proponent.settings.tasks import Classification, LanguageModel, Regression
from proponent.training.largest_result import LargestResult

TASK = Classification()


def curvature_of(module, task, x, y):
    return Curvature(module, task, x, y, x[:2], y[:2], weight_decay=0.1, duration=2.0)


def cotangents(module, x, y):
    return TASK.output_hessian_root(module.eval()(x).detach(), y)


def names(basis):
    return [layer.name for layer in basis.layers]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "conv2d-same"])
def test_a_rotation_keeps_inner_products_and_eigenvalues_are_second_moments(name):
    """This holds for every kind of layer, so that no coordinate of any gradient is left out."""
    module, x, y = build(name, 6)
    found = curvature_of(module, TASK, x, y)
    basis = found.kronecker(0, 0)
    train, query = basis.rotate(found.train), basis.rotate(found.query)
    torch.testing.assert_close(
        query.inner(train, torch.ones_like(basis.eigenvalues)), found.query.inner(found.train)
    )
    root = basis.rotate(found.ggn_root()).dense()
    torch.testing.assert_close(basis.eigenvalues, root.square().sum(0) / len(x))
    assert basis.eigenvalues.sum() == pytest.approx(found.ggn().trace().item())
    weights = torch.rand(2, len(basis.eigenvalues), dtype=torch.float64)
    torch.testing.assert_close(train.squares_inner(weights), train.dense().square() @ weights.T)


CHECKED = {
    "mlp": (lambda module: module[1], "1.weight"),
    "sequence": (lambda module: module.body[0], "body.0.weight"),
    "conv2d": (lambda module: module[0], "0.weight"),
    "encoder-layer": (lambda module: module.body.linear1, "body.linear1.weight"),
    "embedding": (lambda module: module.body, "body.weight"),
}


@pytest.mark.parametrize("name", CHECKED)
def test_factors_are_those_of_hooks(name):
    module, x, y = build(name, 6)
    layer, weight = CHECKED[name]
    basis = curvature_of(module, TASK, x, y).kronecker(0, 0)
    at = names(basis).index(weight)
    sides = layer_sides(module, layer(module), x, cotangents(module, x, y))
    inputs, outputs, block = layer_factors(sides)
    span = basis.spans[at]
    order = (inputs, outputs) if name == "embedding" else (outputs, inputs)  # its rows are the tokens
    for side, factor in zip((basis.left[at], basis.right[at]), order, strict=True):
        vectors = torch.eye(len(factor), dtype=torch.float64) if side.vectors is None else side.vectors
        turned = vectors.T @ factor @ vectors
        torch.testing.assert_close(turned, turned.diagonal().diag(), atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(factor), dtype=torch.float64))
    left, right = (
        torch.eye(len(side.values), dtype=torch.float64)
        if side.vectors is None
        else side.vectors.contiguous()
        for side in (basis.left[at], basis.right[at])
    )
    eigenvectors = torch.kron(left, right)
    product = torch.kron(*order)
    torch.testing.assert_close(
        eigenvectors @ basis.factored[span].diag() @ eigenvectors.T, product, atol=1e-12, rtol=1e-9
    )
    if name == "embedding":
        out, width = len(outputs), len(inputs)
        block = block.reshape(out, width, out, width).permute(1, 0, 3, 2).reshape(out * width, -1)
    corrected = (eigenvectors.T @ block @ eigenvectors).diagonal()
    torch.testing.assert_close(basis.eigenvalues[span], corrected, atol=1e-12, rtol=1e-9)
    distances = [
        torch.linalg.norm(block - eigenvectors @ values[span].diag() @ eigenvectors.T)
        for values in (basis.eigenvalues, basis.factored)
    ]
    assert distances[0] <= distances[1], "EK-FAC's is the best diagonal in the basis"


def test_a_gaussian_linear_layer_is_exact():
    torch.manual_seed(0)
    module = nn.Linear(4, 3).double()
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    basis = curvature_of(module, Regression(), x, y).kronecker(0, 0)
    torch.testing.assert_close(basis.eigenvalues, basis.factored)
    exact = torch.linalg.eigvalsh(dense_ggn(module, Regression().loss, x, y))
    torch.testing.assert_close(basis.factored.sort().values, exact)


def test_projections_inside_attention_are_layers_of_their_own():
    module, x, y = build("cross-attention", 4)
    found = names(curvature_of(module, TASK, x, y).kronecker(0, 0))
    assert {"attention.in_proj_weight[0:4]", "attention.in_proj_weight[4:12]"} <= set(found)


def test_norms_are_exact_blocks():
    module, x, y = build("layer-norm", 6)
    found = curvature_of(module, TASK, x, y)
    basis = found.kronecker(0, 0)
    at = names(basis).index("1.weight")
    start = sum(p.numel() for n, p in module.named_parameters() if n.startswith("0."))
    block = found.ggn()[start : start + 4, start : start + 4]
    torch.testing.assert_close(basis.factored[basis.spans[at]], torch.linalg.eigvalsh(block))
    torch.testing.assert_close(basis.eigenvalues[basis.spans[at]], basis.factored[basis.spans[at]])


@pytest.mark.parametrize("task", ["classification", "language-model"])
def test_sampled_labels_are_unbiased_and_seeded(task):
    """Draws are compared by the traces of the layers, since these do not depend on the basis."""
    if task == "classification":
        task, (module, x, y) = TASK, build("mlp", 8)
    else:
        torch.manual_seed(0)
        task, x = LanguageModel(), torch.randn(6, 3, dtype=torch.float64)
        module = nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 4))).double()
        y = torch.tensor([[0, 1, 2], [3, -100, 1], [1, 1, -100]] * 2)
    found = curvature_of(module, task, x, y)
    exact = found.kronecker(0, 0)
    draws = torch.stack(
        [
            torch.stack([basis.eigenvalues[span].sum() for span in basis.spans])
            for basis in (found.kronecker(2, seed) for seed in range(60))
        ]
    )
    expected = torch.stack([exact.eigenvalues[span].sum() for span in exact.spans])
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() < 3 * error).all()
    assert torch.equal(found.kronecker(2, 5).eigenvalues, found.kronecker(2, 5).eigenvalues)
    assert not torch.equal(found.kronecker(2, 5).eigenvalues, found.kronecker(2, 6).eigenvalues)


@pytest.mark.parametrize("name", ["mlp", "embedding", "tied", "conv2d"])
def test_sides_that_are_too_wide_keep_their_axes_and_are_named(name, monkeypatch):
    module, x, y = build(name, 6)
    monkeypatch.setattr(kronecker_factors, "MAX_SIDE", 5)
    found = curvature_of(module, TASK, x, y)
    basis = found.kronecker(0, 0)
    wide = [layer.name for layer in basis.layers if max(layer.rows, layer.columns) > 5]
    assert list(basis.approximated) == wide != []
    root = basis.rotate(found.ggn_root()).dense()
    torch.testing.assert_close(basis.eigenvalues, root.square().sum(0) / len(x))
    assert basis.eigenvalues.sum() == pytest.approx(found.ggn().trace().item())


@pytest.mark.parametrize("name", ["encoder-layer", "embedding"])
def test_some_examples_at_a_time_give_the_same(monkeypatch, name):
    module, x, y = build(name, 9)
    whole = curvature_of(module, TASK, x, y)
    expected, rotated = whole.kronecker(0, 0), whole.kronecker(0, 0).rotate(whole.train)
    inner = rotated.inner(rotated, torch.ones_like(expected.factored))
    squares = rotated.squares_inner(expected.factored[None])
    monkeypatch.setattr("proponent.features.gradients.per_parameter.TEMPORARY_MIB", 0)
    small = Curvature(module, TASK, x, y, x[:2], y[:2], weight_decay=0.1, duration=2.0, memory_mib=0)
    basis = small.kronecker(0, 0)
    torch.testing.assert_close(basis.factored, expected.factored)
    assert basis.eigenvalues.sum() == pytest.approx(expected.eigenvalues.sum().item())
    rotated = basis.rotate(small.train)
    torch.testing.assert_close(rotated.inner(rotated, torch.ones_like(expected.factored)), inner)
    torch.testing.assert_close(rotated.squares_inner(expected.factored[None]), squares)


class MaskedMean(nn.Module):
    """Mean over the tokens of a text, each through one layer; token 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner, self.last = nn.Embedding(7, 4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens > 0)[..., None]
        return self.last((self.inner(self.embedding(tokens)).tanh() * mask).sum(1) / mask.sum(1))


def test_padding_changes_no_factor():
    torch.manual_seed(0)
    module = MaskedMean().double()
    x = torch.randint(1, 7, (8, 5))
    x[::2, 3:] = 0
    y = torch.arange(8) % 3
    short = curvature_of(module, TASK, x, y).kronecker(0, 0)
    padded = curvature_of(module, TASK, nn.functional.pad(x, (0, 4)), y).kronecker(0, 0)
    torch.testing.assert_close(padded.factored, short.factored)
    torch.testing.assert_close(padded.eigenvalues, short.eigenvalues)


def test_a_padded_layer_has_the_factors_of_the_tokens_alone():
    torch.manual_seed(0)
    module = MaskedMean().double()
    x = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 0, 0], [2, 2, 0]])
    y = torch.arange(4) % 3
    basis = curvature_of(module, TASK, x, y).kronecker(0, 0)
    at = names(basis).index("inner.weight")
    sides = layer_sides(module, module.inner, x, cotangents(module, x, y))
    kept = [
        (a[tokens > 0], [d[tokens > 0] for d in back]) for tokens, (a, back) in zip(x, sides, strict=True)
    ]
    inputs = sum(a.T @ a for a, _ in kept) / len(kept)
    outputs = sum(d.T @ d for _, back in kept for d in back) / sum(len(a) for a, _ in kept)
    expected = torch.outer(torch.linalg.eigvalsh(outputs), torch.linalg.eigvalsh(inputs)).flatten()
    torch.testing.assert_close(basis.factored[basis.spans[at]], expected, atol=1e-12, rtol=1e-9)


class CutTransposed(nn.Module):
    """A transposed convolution, of whose outputs the last ones are not used."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.last = nn.ConvTranspose1d(2, 3, 2, stride=2), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.up(x)[..., :4].tanh().flatten(1))


def test_all_positions_of_a_transposed_convolution_count():
    torch.manual_seed(0)
    module, x, y = CutTransposed().double(), torch.randn(6, 2, 4, dtype=torch.float64), torch.arange(6) % 3
    basis = curvature_of(module, TASK, x, y).kronecker(0, 0)
    at = names(basis).index("up.weight")
    pixels = x.mT.flatten(0, 1)
    torch.testing.assert_close(basis.left[at].values, torch.linalg.eigvalsh(pixels.T @ pixels))


def test_sampled_labels_of_a_large_vocabulary_take_the_memory_of_the_logits():
    """A root of the output Hessian would have 1,000 times the size of the logits."""
    outputs, y = torch.randn(8, 4, 1000), torch.randint(0, 1000, (8, 4))
    with LargestResult() as largest:
        found = sampled_cotangents(LanguageModel(), 3, 0)(outputs, y)
    assert found.shape == (8, 3, 4, 1000)
    assert largest.bytes == found.numel() * found.element_size()
