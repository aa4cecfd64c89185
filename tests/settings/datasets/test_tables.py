"""Settings on tables: standardised splits, and a ridge regression whose training is its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from oracles.ridge import leave_one_out
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import mnist5k
from proponent.settings.datasets.concrete import concrete
from proponent.settings.datasets.diabetes import diabetes
from proponent.settings.datasets.rotated_mnist import rotated_mnist5k
from proponent.settings.factories import build_dataset, build_model
from proponent.settings.split import materialise
from proponent.settings.tasks import get_task
from proponent.training.designs import member_run, run_at
from proponent.training.lockstep import train
from settings.test_builtin import read_setting

RIDGE = read_setting("diabetes-ridge")


@pytest.mark.parametrize("factory, n, n_train, columns", [(concrete, 1030, 830, 8), (diabetes, 442, 342, 10)])
def test_training_examples_have_mean_0_and_deviation_1(factory, n, n_train, columns):
    split = factory()
    (x, y), (x_query, y_query) = split.train, split.query
    assert (x.shape, y.shape) == ((n_train, columns), (n_train, 1))
    assert (x_query.shape, y_query.shape) == ((n - n_train, columns), (n - n_train, 1))
    for values in (x, y):
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-12)
    assert (factory(seed=1).train[1] != y).any()


def test_the_counts_of_the_cards_are_those_of_the_tables():
    for factory in (concrete, diabetes):
        split = factory()
        rows = np.concatenate([np.column_stack(part) for part in (split.train, split.query)])
        counts = read_card(split.card).counts
        assert (counts["examples"], counts["features"]) == (len(rows), rows.shape[1] - 1)
        if "distinct examples" in counts:
            assert counts["distinct examples"] == len(np.unique(rows, axis=0))
            assert counts["distinct mixtures"] == len(np.unique(rows[:, :7], axis=0))


@pytest.mark.parametrize("n_train", [1, 442])
def test_a_table_is_not_split_anywhere(n_train):
    with pytest.raises(UserError, match=f"n_train must lie between 2 and 441, not {n_train}"):
        diabetes(n_train=n_train)


def test_a_column_with_one_value_is_named():
    with pytest.raises(UserError, match=r"column \d has one value in 2 training examples"):
        concrete(n_train=2, seed=5)


def test_half_of_the_digits_are_turned():
    upright, turned = mnist5k(101), rotated_mnist5k(101)
    for part, halves in (
        ("train", (slice(0, 51), slice(51, None))),
        ("query", (slice(0, None, 2), slice(1, None, 2))),
    ):
        (x, y), (x_turned, y_turned) = getattr(upright, part), getattr(turned, part)
        assert (y == y_turned).all()
        images, found = (values.reshape(-1, 28, 28) for values in (x, x_turned))
        assert (images[halves[0]] == found[halves[0]]).all()
        assert (np.rot90(images[halves[1]], axes=(1, 2)) == found[halves[1]]).all()


@pytest.fixture(scope="module")
def ridge():
    """Data of the setting, and a function that returns the weights of its trainings, (runs, 10) float64."""
    task = get_task(RIDGE.task)
    data = materialise(
        build_dataset(RIDGE.dataset, 0), task, RIDGE.queries, "diabetes-ridge", RIDGE.recipe.precision
    )

    def weights(runs):
        def build(seed):
            return build_model(RIDGE.model, seed, precision=RIDGE.recipe.precision)

        trained = train(build, data.x_train, data.y_train, task, RIDGE.recipe, runs, lockstep=50)
        return trained.state["weight"][:, 0].numpy()

    return data, weights


def test_training_gives_the_ridge_regression_of_scikit_learn(ridge):
    """So do retrainings on halves, whose mean loss is that of their own examples."""
    data, weights = ridge
    x, y = data.x_train.numpy(), data.y_train.numpy()[:, 0]
    design = RIDGE.designs["subsets"]
    runs = [member_run(0, 0), *(run_at(design, "subsets", len(x), 0, index) for index in range(0, 40, 2))]
    for run, found in zip(runs, weights(runs), strict=True):
        kept = np.ones(len(x), bool) if run.mask is None else run.mask.numpy()
        exact = Ridge(alpha=kept.sum() * RIDGE.recipe.weight_decay, fit_intercept=False).fit(x[kept], y[kept])
        np.testing.assert_allclose(found, exact.coef_, rtol=0, atol=1e-10)


def test_leaving_one_out_is_exact_for_every_example(ridge):
    data, weights = ridge
    x, y = data.x_train.numpy(), data.y_train.numpy()[:, 0]
    design = RIDGE.designs["loo"]
    assert design.count == len(x)
    runs = [run_at(design, "loo", len(x), 0, row) for row in range(1, design.count + 1)]
    left_out = torch.stack([run.mask for run in runs]).logical_not().int().argmax(1).numpy()
    assert sorted(left_out) == list(range(len(x)))
    exact = leave_one_out(x, y, penalty=len(x) * RIDGE.recipe.weight_decay)[left_out]
    some = slice(None, None, 7)  # all of them take some seconds
    np.testing.assert_allclose(weights(runs[some]), exact[some], rtol=0, atol=1e-10)
