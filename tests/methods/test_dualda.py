"""DualDA is the dual of scikit-learn's Crammer-Singer SVM, and its scores add up to the SVM's logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from methods.fakes import mlp_world
from proponent.attribution.member_mean import MemberMean
from proponent.errors import UserError
from proponent.methods.representer import dualda
from proponent.methods.shared.needs import Workspace
from proponent.methods.shared.solvers.svm_duals import multiclass_svm_duals, nearest_feasible


def blobs(n: int = 80, d: int = 5, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    centres = generator.normal(size=(n_classes, d))
    return centres[labels] + generator.normal(size=(n, d)), labels


@pytest.mark.parametrize("bound", [0.003, 0.1, 3.0])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_layer_is_that_of_scikit_learn(bound: float, n_classes: int) -> None:
    x, y = blobs(n_classes=n_classes)
    alpha = multiclass_svm_duals(x, y, bound, tolerance=1e-9)
    theirs = LinearSVC(
        multi_class="crammer_singer",
        C=bound,
        fit_intercept=False,
        tol=1e-10,
        max_iter=1_000_000,
        random_state=0,
    ).fit(x, y)
    layer = alpha.T @ x
    # with two classes scikit-learn keeps the difference of the two rows
    ours = layer[1:] - layer[:1] if n_classes == 2 else layer
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-7)
    assert np.abs(alpha.sum(1)).max() < 1e-12
    assert (alpha <= bound * np.eye(n_classes)[y] + 1e-15).all()


def test_no_feasible_point_nearby_is_better() -> None:
    """The dual objective at random feasible points around the solution is not lower than at the solution."""
    x, y = blobs(n=12)

    def objective(alpha: np.ndarray) -> float:
        return 0.5 * ((x.T @ alpha) ** 2).sum() - alpha[np.arange(len(y)), y].sum()

    best = multiclass_svm_duals(x, y, 0.5, tolerance=1e-9)
    generator = np.random.default_rng(1)
    for scale in (1e-3, 1e-1, 1):
        for _ in range(50):
            moved = best + scale * generator.normal(size=best.shape)
            feasible = nearest_feasible(moved, 0.5 * np.eye(3)[y])
            assert objective(feasible) >= objective(best) - 1e-9


@pytest.mark.parametrize("bound", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2], [0, 2, 3]])
def test_the_dual_value_is_the_primal_value(bound: float, classes: list[int]) -> None:
    """Without a duality gap both are optimal; the class that no example has is one that could be predicted."""
    x, y = blobs(n_classes=len(classes))
    y = np.array(classes)[y]
    alpha = multiclass_svm_duals(x, y, bound, classes[-1] + 1)
    layer = x.T @ alpha
    margins = x @ layer + 1 - np.eye(classes[-1] + 1)[y]
    own = (x @ layer)[np.arange(len(y)), y]
    primal = 0.5 * (layer**2).sum() + bound * (margins.max(1) - own).sum()
    dual = alpha[np.arange(len(y)), y].sum() - 0.5 * (layer**2).sum()
    assert primal - dual == pytest.approx(0, abs=2e-4 * bound * len(y))
    assert (alpha <= bound * np.eye(classes[-1] + 1)[y] + 1e-15).all()


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, torch.Tensor], object]:
    world = mlp_world(n=60, steps=400, n_query=8)
    needs = world.needs(["data", "representations", "outputs"])
    return dualda.attribute(*needs, Workspace(), cost=3.0), world


def test_scores_add_up_to_the_logit_of_the_label(found) -> None:
    tensors, world = found
    pair = world.representations().at(1.0)
    train, query = (torch.cat([h, h.new_ones(len(h), 1)], 1) for h in (pair.train, pair.query))
    layer = train[tensors["support"]].T @ tensors["duals"]
    logits = query @ layer
    torch.testing.assert_close(tensors["scores"].sum(1), logits.gather(1, world.y_query[:, None])[:, 0])


def test_the_sparse_form_contains_all_scores(found) -> None:
    tensors, world = found
    support = tensors["support"]
    assert 0 < len(support) < 60
    assert tensors["support_fraction"].item() == pytest.approx(len(support) / 60)
    others = torch.ones(60, dtype=torch.bool)
    others[support] = False
    assert not tensors["scores"][:, others].any()
    pair = world.representations().at(1.0)
    inner = pair.query @ pair.train[support].T + 1
    torch.testing.assert_close(tensors["scores"][:, support], tensors["duals"][:, world.y_query].T * inner)


def test_the_agreement_is_counted_over_examples_and_queries(found) -> None:
    tensors, world = found
    pair = world.representations().at(1.0)
    own = world.outputs().at(1.0)
    x = np.vstack([pair.train, pair.query])
    x = np.hstack([x, np.ones((len(x), 1))])
    bound = 3.0 / (x[:60] ** 2).sum(1).mean()
    svm = LinearSVC(multi_class="crammer_singer", C=bound, fit_intercept=False, tol=1e-8, max_iter=100_000)
    predicted = svm.fit(x[:60], world.y_train.numpy()).predict(x)
    network = torch.cat([own.train, own.query]).argmax(1).numpy()
    assert tensors["agreement"].item() == pytest.approx((predicted == network).mean())


def test_self_influence_is_at_its_bound_on_the_wrong_side_of_the_margin(found) -> None:
    _, world = found
    needs = world.needs(["data", "representations", "outputs"])
    own = dualda.self_influence(*needs, Workspace(), cost=3.0, checkpoint=1.0)
    pair = world.representations().at(1.0)
    bound = 3.0 / ((pair.train**2).sum(1) + 1).mean()
    assert own.min() >= 0
    assert own.max().item() == pytest.approx(bound.item())


def test_the_error_names_the_rounds_and_the_remedy() -> None:
    x, y = blobs()
    with pytest.raises(UserError, match=r"not converged after 1 rounds .* lower 'cost'"):
        multiclass_svm_duals(x, y, 1e4, rounds=1, tolerance=1e-15)


def test_a_mean_over_members_keeps_scalars_and_a_single_member_keeps_all_tensors() -> None:
    """Tensors of several members cannot be added up, but their scalars can be averaged."""
    mean = MemberMean()
    mean.add({"scores": torch.ones(2, 3), "support": torch.arange(2), "agreement": torch.tensor(0.5)})
    assert set(mean.extras()) == {"support", "agreement"}
    mean.add({"scores": torch.zeros(2, 3), "support": torch.arange(3), "agreement": torch.tensor(1.0)})
    assert {name: value.item() for name, value in mean.extras().items()} == {"agreement": 0.75}
    torch.testing.assert_close(mean.scores(), torch.full((2, 3), 0.5))
