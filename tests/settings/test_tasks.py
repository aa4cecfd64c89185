"""Tasks: losses, targets and the identities between them that every method relies on."""

from __future__ import annotations

import pytest
import torch
from torch.func import hessian, vmap
from torch.nn import functional as F

from proponent.errors import UserError
from proponent.settings.tasks import IGNORED, TASKS, get_task


def example(name, scale=1.0):
    """Return outputs and labels of six examples, in double precision."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    if name == "classification":
        return normal(6, 4), torch.randint(4, (6,), generator=generator)
    if name in ("regression", "huber"):
        return normal(6, 3), normal(6, 3)
    if name == "binary":
        return normal(6, 1), torch.randint(2, (6,), generator=generator)
    if name == "multi-label":
        return normal(6, 4), torch.randint(2, (6, 4), generator=generator)
    if name == "contrastive":
        return normal(6, 2, 4), torch.zeros(6, 2, dtype=torch.int64)
    y = torch.randint(4, (6, 5), generator=generator)
    y[:, 0] = IGNORED
    y[1, 3:] = IGNORED
    return normal(6, 5, 4), y


def test_losses_are_those_of_torch():
    outputs, y = example("classification")
    torch.testing.assert_close(
        get_task("classification").loss(outputs, y), F.cross_entropy(outputs, y, reduction="none")
    )
    outputs, y = example("regression")
    torch.testing.assert_close(
        get_task("regression").loss(outputs, y), F.mse_loss(outputs, y, reduction="none").sum(1) / 2
    )
    outputs, y = example("language-model")
    means = torch.stack(
        [F.cross_entropy(row, labels, ignore_index=IGNORED) for row, labels in zip(outputs, y, strict=True)]
    )
    torch.testing.assert_close(get_task("language-model").loss(outputs, y), means)


def test_regression_takes_targets_with_or_without_a_last_axis():
    task = get_task("regression")
    outputs, y = torch.randn(6, 1), torch.randn(6)
    expected = (outputs[:, 0] - y) ** 2 / 2
    for shaped, labels in (
        (outputs, y),
        (outputs[:, 0], y),
        (outputs[:, 0], y[:, None]),
        (outputs, y[:, None]),
    ):
        torch.testing.assert_close(task.loss(shaped, labels), expected)


def test_the_margin_is_the_log_odds_of_the_label():
    outputs, y = example("classification")
    p = outputs.softmax(1).gather(1, y[:, None])[:, 0]
    task = get_task("classification")
    torch.testing.assert_close(task.target(outputs, y), torch.log(p / (1 - p)))
    torch.testing.assert_close(task.loss_weight(outputs, y), 1 - p)


SEVERAL = ("masked-language-model", "seq2seq", "contrastive")


@pytest.mark.parametrize("name", [name for name in TASKS if name not in SEVERAL])
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_the_gradient_of_the_loss_is_minus_the_weight_times_that_of_the_base(name, scale):
    task = get_task(name)
    outputs, y = example(name, scale)
    outputs.requires_grad_()
    (of_loss,) = torch.autograd.grad(task.loss(outputs, y).sum(), outputs)
    (of_precise,) = torch.autograd.grad(task.precise_loss(outputs, y).sum(), outputs)
    (of_base,) = torch.autograd.grad(task.base(outputs, y).sum(), outputs)
    weight = task.loss_weight(outputs, y).detach().reshape(-1, *[1] * (outputs.ndim - 1))
    torch.testing.assert_close(of_loss, -weight * of_base, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of_loss, of_precise, rtol=1e-9, atol=1e-12)
    if name != "multi-label":
        torch.testing.assert_close(task.base(outputs, y), task.target(outputs, y))


@pytest.mark.parametrize("name", SEVERAL)
def test_the_mean_margin_by_its_definition_and_by_autograd(name):
    """For one position the identity above is exact; for several, the loss is a sum over positions."""
    task = get_task(name)
    outputs, y = example(name)
    outputs.requires_grad_()
    p = outputs.softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    counted = y != IGNORED
    number = counted.sum(1)
    margins = torch.log(p / (1 - p))
    torch.testing.assert_close(task.target(outputs, y), (margins * counted).sum(1) / number)
    torch.testing.assert_close(task.loss_weight(outputs, y), ((1 - p) * counted).sum(1) / number)
    torch.testing.assert_close(task.loss(outputs, y), get_task("language-model").loss(outputs, y))

    (of_loss,) = torch.autograd.grad(task.loss(outputs, y).sum(), outputs)
    (of_target,) = torch.autograd.grad(task.target(outputs, y).sum(), outputs)
    torch.testing.assert_close(of_loss, -(1 - p).detach()[..., None] * of_target)
    assert not of_target[~counted].any()

    alone = torch.where(torch.arange(y.shape[1]) == 1, y, IGNORED)
    (of_loss,) = torch.autograd.grad(task.loss(outputs, alone).sum(), outputs)
    (of_target,) = torch.autograd.grad(task.target(outputs, alone).sum(), outputs)
    weight = task.loss_weight(outputs, alone).detach()[:, None, None]
    torch.testing.assert_close(of_loss, -weight * of_target)


def test_the_contrastive_target_is_that_of_clip():
    """Half of TRAK's -logsumexp_j <I, T_j - T> - logsumexp_j <T, I_j - I>, over the others."""
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 5, 4, generator=generator, dtype=torch.float64)
    similarities = torch.stack(
        [torch.einsum("nd,njd->nj", images[:, 0], texts), torch.einsum("nd,njd->nj", texts[:, 0], images)], 1
    )
    y = torch.zeros(6, 2, dtype=torch.int64)
    task = get_task("contrastive")
    expected = torch.zeros(6, dtype=torch.float64)
    for ours, theirs in ((images, texts), (texts, images)):
        differences = theirs[:, 1:] - theirs[:, :1]
        expected -= torch.einsum("nd,njd->nj", ours[:, 0], differences).exp().sum(1).log()
    torch.testing.assert_close(task.target(similarities, y), expected / 2)
    p = similarities.softmax(-1)[:, :, 0]
    torch.testing.assert_close(task.loss_weight(similarities, y), 1 - p.mean(1))
    task.check_outputs(similarities, y, "setting mine: train")


def test_certain_predictions_keep_their_precision():
    """1 - p underflows in float32 where the weight itself, about exp(-60), does not."""
    task = get_task("classification")
    outputs, y = torch.tensor([[60.0, 0.0]]), torch.tensor([0])
    assert task.target(outputs, y).item() == 60
    assert task.loss_weight(outputs, y).item() == pytest.approx(8.756e-27, rel=1e-3)
    assert task.target(-1e4 * outputs, y).isfinite()


@pytest.mark.parametrize("name", TASKS)
def test_output_hessians_and_their_roots(name):
    task = get_task(name)
    outputs, y = example(name)

    def loss(row, label):
        return task.loss(row[None], label[None])[0]

    exact = vmap(hessian(loss))(outputs, y)
    if exact.ndim == 5:
        blocks = exact.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        off = exact.permute(0, 1, 3, 2, 4) * (
            1 - torch.eye(y.shape[1], dtype=torch.float64)[:, :, None, None]
        )
        assert not off.any()
        exact = blocks
    actual, root = task.output_hessian(outputs, y), task.output_hessian_root(outputs, y)
    torch.testing.assert_close(actual, exact)
    torch.testing.assert_close(root.mT @ root, exact)


@pytest.mark.parametrize("name", TASKS)
def test_combinations_of_the_rows_of_a_root(name):
    task = get_task(name)
    outputs, y = example(name)
    root = task.output_hessian_root(outputs, y)
    root = root.reshape(len(root), -1, *root.shape[-2:])
    weights = torch.randn(len(root), root.shape[1], 5, root.shape[2], dtype=root.dtype)

    def draw(positions, size):
        assert (positions, size) == weights.shape[1::2]
        return weights.clone()

    torch.testing.assert_close(task.combined_root(outputs, y, draw), weights @ root)


def test_the_nearest_task_is_suggested_for_an_unknown_one():
    with pytest.raises(UserError, match="unknown task 'clasification'; did you mean 'classification'"):
        get_task("clasification")


@pytest.mark.parametrize(
    "name, outputs, y, match",
    [
        ("classification", torch.zeros(2, 3), torch.tensor([0, 3]), "label 3 is out of range for 3 classes"),
        ("classification", torch.zeros(2, 1), torch.tensor([0, 0]), "two classes or more"),
        ("classification", torch.zeros(2), torch.tensor([0, 0]), "two classes or more"),
        ("regression", torch.zeros(2, 3), torch.zeros(2), "must hold the same number of elements"),
        ("language-model", torch.zeros(2, 3), torch.zeros(2, 5).long(), r"logits \(n, 5, tokens\)"),
        (
            "language-model",
            torch.zeros(2, 5, 3),
            torch.full((2, 5), 3),
            "label 3 is out of range for 3 classes",
        ),
    ],
)
def test_outputs_that_do_not_fit_the_labels_are_refused(name, outputs, y, match):
    with pytest.raises(UserError, match=match):
        get_task(name).check_outputs(outputs, y, "setting mine: train")
