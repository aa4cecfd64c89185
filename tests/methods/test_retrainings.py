"""Methods that learn from retrainings, against definitions over all subsets, closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.fakes import Retrainings, mlp_world
from oracles import games
from proponent.errors import UserError
from proponent.methods.learned import datamodels, datamodels_mixed, datamodels_prior, datamodels_ridge
from proponent.methods.shared.needs import Workspace
from proponent.methods.shared.retraining_regression import PENALTIES, weights_around_prior
from proponent.methods.shared.solvers.lasso_path import lasso_path, left_out_errors
from proponent.methods.valuation import mean_difference


def additive(
    m: int, n: int, noise: float, n_query: int = 3, n_strong: int | None = None
) -> tuple[Retrainings, Tensor]:
    """Return retrainings on random halves whose targets are sums of weights and noise, and the weights."""
    generator = torch.Generator().manual_seed(m)
    weights = torch.randn(n_query, n, generator=generator, dtype=torch.float64)
    weights[:, n_strong or n :] = 0
    masks = torch.stack([torch.randperm(n, generator=generator) < n // 2 for _ in range(m)])
    errors = noise * torch.randn(m, n_query, generator=generator, dtype=torch.float64)
    return Retrainings(masks, 5 + masks.double() @ weights.T + errors), weights


def correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.flatten(), b.flatten())[0, 1])


def test_differences_over_all_subsets_are_banzhaf_values() -> None:
    values = np.random.default_rng(0).normal(size=(2**7, 2))
    everything = Retrainings(torch.from_numpy(games.all_subsets(7)), torch.from_numpy(values))
    expected = np.stack([games.banzhaf(values[:, q], 7) for q in range(2)])
    np.testing.assert_allclose(mean_difference.attribute(everything, value="banzhaf"), expected, atol=1e-14)


def test_differences_of_means_by_hand() -> None:
    masks = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    scores = mean_difference.attribute(Retrainings(masks, torch.tensor([[1.0], [3.0], [8.0]])))
    assert scores.tolist() == [[pytest.approx(2 - 8), pytest.approx(4.5 - 3), 0.0]]


def test_banzhaf_values_need_halves() -> None:
    retrainings, _ = additive(20, 10, 0.1)
    fewer = Retrainings(retrainings.masks & (torch.arange(10) > 4), retrainings.targets)
    with pytest.raises(UserError, match=r"fraction to 0\.5, or use empirical-influence"):
        mean_difference.attribute(fewer, value="banzhaf")


SIZES = pytest.mark.parametrize("m", [12, 40], ids=["fewer retrainings than examples", "more"])
CHOICES = pytest.mark.parametrize("penalty", ["query", "shared"])


def by_definition(
    masks: np.ndarray, targets: np.ndarray, priors: list, penalty: str, scale: list
) -> np.ndarray:
    """Return ridge weights with the penalty of least left-out error, from one fit per left-out row."""
    fits, errors = [], []
    for y, prior, width in zip(targets.T, priors, scale, strict=True):
        x = masks * width
        spread = ((x - x.mean(0)) ** 2).sum() / len(x)
        own = None if prior is None else prior / width
        fits.append([width * games.ridge(x, y, relative * spread, own) for relative in PENALTIES])
        missed = [games.ridge_left_out(x, y, relative * spread, own) for relative in PENALTIES]
        errors.append([(rest**2).mean() / y.var() for rest in missed])
    each = np.argmin(errors, axis=1)
    best = each if penalty == "query" else np.full(len(each), np.mean(errors, axis=0).argmin())
    return np.stack([fit[chosen] for fit, chosen in zip(fits, best, strict=True)])


@SIZES
@CHOICES
def test_ridge_is_the_closed_form_with_the_penalty_of_least_left_out_error(m: int, penalty: str) -> None:
    retrainings, _ = additive(m, 20, 1.0)
    masks, targets = retrainings.masks.double().numpy(), retrainings.targets.numpy()
    expected = by_definition(masks, targets, [None] * 3, penalty, [np.ones(20)] * 3)
    np.testing.assert_allclose(
        datamodels_ridge.attribute(retrainings, Workspace(), penalty=penalty), expected, atol=1e-7
    )


@SIZES
@CHOICES
def test_a_prior_is_the_closed_form_of_scaled_masks_around_it(m: int, penalty: str) -> None:
    retrainings, weights = additive(m, 20, 1.0)
    prior = weights**3
    masks, targets = retrainings.masks.double().numpy(), retrainings.targets.numpy()
    width = (prior.abs() / prior.abs().mean(1, keepdim=True) + 0.05).sqrt().numpy()
    expected = by_definition(masks, targets, list(prior.numpy()), penalty, list(width))
    np.testing.assert_allclose(weights_around_prior(retrainings, prior, penalty), expected, atol=1e-6)


@pytest.mark.parametrize("m", [25, 60], ids=["fewer retrainings than examples", "more"])
def test_the_lasso_path_is_scikit_learns(m: int) -> None:
    retrainings, _ = additive(m, 30, 0.5, n_strong=5)
    x = retrainings.masks.double() - retrainings.masks.double().mean(0)
    y = retrainings.targets - retrainings.targets.mean(0)
    largest = (x.T @ y / m).abs().amax(0)
    shares, compared = torch.tensor([1.0, 0.5, 0.2, 0.05], dtype=torch.float64), []
    for share, theta in zip(shares, lasso_path(x, y, shares, 1e-9), strict=True):
        for q in range(3):
            expected = games.lasso(x.numpy(), y[:, q].numpy(), float(share * largest[q]))
            np.testing.assert_allclose(theta[:, q], expected, atol=2e-6)
            compared.append((expected != 0).sum())
    assert min(compared) == 0, "all weights are 0 at the first alpha"
    assert max(compared) >= 5


@pytest.mark.parametrize("penalty", ["query", "shared"])
def test_the_lasso_finds_few_strong_examples_from_fewer_retrainings_than_ridge(penalty: str) -> None:
    retrainings, weights = additive(60, 200, 0.3, n_strong=6)
    lasso = correlation(datamodels.attribute(retrainings, Workspace(), penalty=penalty), weights)
    ridge = correlation(datamodels_ridge.attribute(retrainings, Workspace(), penalty=penalty), weights)
    assert lasso > 0.9 > ridge > 0.3


def test_additive_targets_without_noise_are_recovered() -> None:
    retrainings, weights = additive(100, 20, 0.0)
    expected = weights - weights.mean(1, keepdim=True)  # subsets of one size do not determine the mean
    for module in (datamodels, datamodels_ridge):
        scores = module.attribute(retrainings, Workspace())
        assert correlation(scores - scores.mean(1, keepdim=True), expected) > 0.99


def test_a_mixture_is_the_sum_of_centred_scores_of_length_one() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, third = torch.randn(3, 4, 9, generator=generator, dtype=torch.float64).unbind()

    def unit(scores: np.ndarray) -> np.ndarray:
        centred = scores - scores.mean()
        return centred / np.linalg.norm(centred)

    found = datamodels_mixed.attribute({"a": first, "b": second, "c": third}, share=0.3)
    for q in range(4):
        others = (unit(second[q].numpy()) + unit(third[q].numpy())) / np.sqrt(2)
        np.testing.assert_allclose(found[q], unit(first[q].numpy()) + 0.3 * others)
    alone = datamodels_mixed.attribute({"a": 5 * first + 2})
    torch.testing.assert_close(alone, datamodels_mixed.attribute({"a": first, "b": second}, share=0.0))
    flat = datamodels_mixed.attribute({"a": first, "b": torch.ones_like(second)}, share=0.3)
    torch.testing.assert_close(flat, alone, msg="constant scores add nothing")


def test_the_prior_is_kept_without_evidence_and_corrected_by_much_evidence() -> None:
    """Targets that are sums of the TRAK scores leave these unchanged; many other targets replace them."""
    gradients = mlp_world(n=40, steps=40).gradients()
    kernel, weight = datamodels_prior.attribute(gradients, Workspace())
    prior = kernel * weight
    few, _ = additive(10, 40, 0.0, n_query=4)
    agreeing = Retrainings(few.masks, few.masks.double() @ prior.T)
    torch.testing.assert_close(datamodels_prior.finish(prior, agreeing), prior, rtol=1e-4, atol=1e-6)
    many, weights = additive(400, 40, 0.1, n_query=4)
    centred = weights - weights.mean(1, keepdim=True)
    assert correlation(datamodels_prior.finish(prior, many), centred) > 0.99


def test_the_path_ends_where_errors_have_been_rising() -> None:
    """Errors are finite up to that penalty, and infinite after it."""
    retrainings, _ = additive(40, 60, 3.0, n_strong=3)
    masks, targets = retrainings.masks.double(), retrainings.targets
    shares = torch.logspace(0, -1.5, 12, dtype=torch.float64)
    errors = left_out_errors(masks, targets, shares, folds=4, tolerance=1e-7, seed=0)
    reached = int(errors.isfinite().all(1).sum())
    assert 3 <= reached < 12
    assert errors[reached:].isinf().all()
    assert (errors.argmin(0) <= reached - 3).all()
    once = left_out_errors(masks, targets, shares[:1], folds=4, tolerance=1e-7, seed=0)
    assert (once[0] > targets.var(0) * 39).all(), "the first alpha predicts the mean of the other folds"
