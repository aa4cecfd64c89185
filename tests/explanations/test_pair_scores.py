"""Pair scores are those of the methods, and their features are attributed completely."""

from __future__ import annotations

import json
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import proponent
from oracles.dualxda_relevances import CASE, network
from proponent.errors import UserError
from proponent.explanations.feature_attribution import attribute_features
from proponent.explanations.pair_scores import MeanScore, RepresentationKernel, constant
from proponent.notes import Note
from proponent.pair_explainer import PairExplainer
from proponent.trained.pair_score_builder import Pair

METHODS = ("graddot", "trak", "dualda", "rps", "similarity-cosine", "similarity-dot")
CLASSES, N = 3, 40


def rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    return torch.randn(n, 4, generator=generator) + 1.5 * torch.eye(CLASSES, 4)[y], y


def texts(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    x = 1 + (torch.randint(0, 6, (n, 5), generator=generator) + 4 * y[:, None]) % 12
    x[::2, 3:] = 0
    return x, y


def pixels(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    return torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=generator), y


class Words(nn.Module):
    """The mean embedding of the tokens, and two layers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(13, 4, padding_idx=0)
        self.hidden, self.head = nn.Linear(4, 5), nn.Linear(5, CLASSES)

    def forward(self, x):
        kept = (x > 0).to(self.hidden.weight.dtype)[..., None]
        return self.head(torch.tanh(self.hidden((self.embedding(x) * kept).sum(1) / kept.sum(1))))


class Pictures(nn.Module):
    """A small network on bytes, which it converts."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, CLASSES))

    def forward(self, x):
        return self.body(x.to(self.body[0].weight.dtype) / 255)


class Normed(nn.Module):
    """Layers whose derivatives of forward derivatives torch gets wrong, or does not have."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(4, 8), nn.LayerNorm((2, 4), bias=False)
        self.instance = nn.InstanceNorm1d(2, affine=True)
        self.last = nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = self.instance(self.norm(self.first(x).unflatten(-1, (2, 4))))
        return self.last(nn.functional.glu(hidden.flatten(1)))


KINDS = {
    "normed": (rows, Normed),
    "numbers": (rows, lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES))),
    "tokens": (texts, Words),
    "bytes": (pixels, Pictures),
}


def made(method: str, kind: str = "numbers", models: int = 1, **params) -> tuple[proponent.Explainer, tuple]:
    """Return an explainer in double precision, and queries."""
    data, build = KINDS[kind]
    torch.manual_seed(0)
    given = [build().double() for _ in range(models)]
    attributor = proponent.Attributor(
        method, given[0], data(N, 1), models=given if models > 1 else None, memory_mib=500, **params
    )
    return proponent.Explainer(attributor), data(3, 2)


def pair_of(explainer: proponent.Explainer, queries: tuple, example: int, row: int = 0) -> Pair:
    x, y = explainer.models.rows(queries)
    builder = PairExplainer(explainer.models, None, "zeros")._builder
    return builder.pair(x[row : row + 1], y[row : row + 1], example)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_both_sides_of_a_pair_give_the_score_of_the_method(method, kind):
    explainer, queries = made(method, kind)
    scores = explainer.attributor.attribute(queries)
    for row, example in ((0, 0), (1, 7), (2, 11)):
        pair = pair_of(explainer, queries, example, row)
        for side in (pair.query, pair.train):
            with torch.no_grad():
                found = side.score(side.features)
            assert float(found[0]) == pytest.approx(float(scores[row, example]), rel=2e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("graddot", {}),
        ("trak", {}),
        ("trak", {"weighting": "full"}),
        ("trak", {"damping": 0.1, "growing": True}),
        ("dualda", {}),
    ],
)
def test_pair_scores_of_several_models_are_averaged_as_the_method_does(method, params):
    explainer, queries = made(method, models=3, **params)
    scores = explainer.attributor.attribute(queries)
    pair = pair_of(explainer, queries, 4)
    for side in (pair.query, pair.train):
        assert float(side.score(side.features)[0]) == pytest.approx(float(scores[0, 4]), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_score_of_other_features_is_that_of_a_changed_example(method):
    """The method scores a query with other features directly; the training set is the same."""
    explainer, (x, y) = made(method)
    pair = pair_of(explainer, (x, y), 5)
    changed = x[:1] + 0.3
    expected = explainer.attributor.attribute((changed, y[:1]))[0, 5]
    assert float(pair.query.score(changed.double())[0]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["graddot", "trak"])
def test_slopes_of_the_score_are_those_of_finite_differences(method, kind):
    explainer, queries = made(method, kind)
    pair = pair_of(explainer, queries, 9)
    for side in (pair.query, pair.train):
        features = side.features.clone().requires_grad_()
        (slope,) = torch.autograd.grad(side.score(features).sum(), features)
        step = torch.randn(features.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        step *= 1e-5 * features.detach().norm() / step.norm()
        with torch.no_grad():
            ends = side.score(torch.cat([features + step, features - step]))
        assert float((slope * step).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2, rel=1e-4)


def plain_graddot(model: nn.Module, x: Tensor, y: int, other: Tensor, label: int) -> Tensor:
    """GradDot of a query and an example by plain autograd, differentiable in ``x``."""

    def margin(inputs: Tensor, of: int) -> Tensor:
        logits = model(inputs[None])[0]
        rest = torch.cat([logits[:of], logits[of + 1 :]])
        return logits[of] - rest.logsumexp(0)

    parameters = list(model.parameters())
    mine = torch.autograd.grad(margin(x, y), parameters, create_graph=True)
    loss = torch.nn.functional.cross_entropy(model(other[None]), torch.tensor([label]))
    theirs = torch.autograd.grad(-loss, parameters)
    return sum((a * b).sum() for a, b in zip(mine, theirs, strict=True))


def test_integrated_gradients_are_those_of_plain_autograd():
    """A midpoint rule of 400 steps on a GradDot that is computed by double backward."""
    explainer, (x, y) = made("graddot")
    train, labels = rows(N, 1)
    model = explainer.models.first.module
    found = explainer.features((x, y), 7).query
    total = torch.zeros(4, dtype=torch.float64)
    for step in range(400):
        point = (x[0].double() * (step + 0.5) / 400).requires_grad_()
        score = plain_graddot(model, point, int(y[0]), train[7].double(), int(labels[7]))
        total += torch.autograd.grad(score, point)[0] / 400
    torch.testing.assert_close(found.values, total * x[0].double(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_integrated_gradients_are_complete_to_one_per_cent(method, kind):
    explainer, queries = made(method, kind)
    pair = explainer.features(queries, 9)
    assert pair.query.gap < 0.01
    assert pair.train.gap < 0.01
    width = {"numbers": (4,), "normed": (4,), "tokens": (5,), "bytes": (1, 4, 4)}[kind]
    assert pair.query.values.shape == pair.train.values.shape == width


def test_shapley_values_are_complete_where_the_score_jumps():
    """GradDot on a ReLU network is not continuous in its inputs, so that integrated gradients may miss a jump."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    explainer = proponent.Explainer(proponent.Attributor("graddot", model, rows(N, 1)))
    with pytest.warns(Note, match="shapley is complete for any score"):
        explainer.features(rows(3, 2), 9)
    pair = explainer.features(rows(3, 2), 9, "shapley")
    assert pair.query.gap < 1e-5
    assert pair.train.gap < 1e-5


def test_shapley_values_of_a_linear_score_are_its_terms():
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    kernel = RepresentationKernel(lambda features: features, weights, 3.0)
    score = MeanScore([kernel], [constant(1.0)])
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    for algorithm in ("shapley", "integrated-gradients", "input-x-gradient"):
        found = attribute_features(score, x, torch.zeros_like(x), algorithm)
        torch.testing.assert_close(found.values.double(), 3 * weights * x[0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("method", ["similarity-dot", "similarity-cosine"])
def test_the_roles_are_symmetric_for_a_symmetric_score(method):
    """The pair of a training example as the query and another one as the example, and the other way round."""
    explainer, _ = made(method)
    x, y = rows(N, 1)
    first = explainer.features((x[3:4], y[3:4]), 8)
    second = explainer.features((x[8:9], y[8:9]), 3)
    torch.testing.assert_close(first.query.values, second.train.values, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(first.train.values, second.query.values, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("method", ["graddot", "dualda", "trak"])
def test_deleting_attributed_features_first_is_better_than_random(method):
    explainer, queries = made(method, "tokens")
    found = explainer.deletion(queries, 2)
    assert found.ci_low > 0
    assert found.difference == pytest.approx(found.random_area - found.area)
    assert found.pairs == 12


def test_relevances_are_those_of_the_package_of_dualxda():
    """``oracles/dualxda_relevances.py`` wrote the relevances with dualxda 0.1.0, for a dual variable of 1."""
    case = json.loads(CASE.read_text())
    model = network()
    model.load_state_dict({name: torch.tensor(value) for name, value in case["state"].items()})
    x, y = torch.tensor(case["x"]), torch.zeros(6, dtype=torch.long)
    y[1::2] = 1
    explainer = proponent.Explainer(proponent.Attributor("similarity-dot", model, (x, y)))
    for pair in case["pairs"]:
        row = pair["query"]
        found = explainer.features((x[row : row + 1], y[row : row + 1]), pair["example"], "lrp")
        np.testing.assert_allclose(found.query.values, pair["of_query"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.train.values, pair["of_example"], rtol=1e-3, atol=1e-5)


def test_lrp_of_a_network_without_biases_adds_up_to_the_score():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, CLASSES, bias=False)).double()
    explainer = proponent.Explainer(proponent.Attributor("similarity-dot", model, rows(N, 1)))
    pair = explainer.features(rows(3, 2), 5, "lrp")
    assert float(pair.query.values.sum()) == pytest.approx(pair.score, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e, q: e.features(q, 40), "there is no pair of query 0 and example 40"),
        (lambda e, q: e.features(q, 0, baseline=torch.zeros(3)), "baseline has the shape"),
        (lambda e, q: e.features(q, 0, "lrp"), "lrp needs a score of representations"),
        (lambda e, q: e.features(q, 0, inputs="other"), "there is no input 'other'"),
        (lambda e, q: e.support_vectors(), "has no support vectors; choose dualda"),
        (lambda e, q: e.clusters(2, label=None, by="gradients") and e.clusters(40), "the number of clusters"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(change, match):
    explainer, queries = made("graddot")
    with pytest.raises(UserError, match=match):
        change(explainer, queries)


def test_methods_without_a_closed_form_are_refused():
    explainer, queries = made("ekfac")
    with pytest.raises(UserError, match="method 'ekfac' has no pair score that is differentiable"):
        explainer.features(queries, 0)


def test_a_module_of_ones_own_with_the_name_of_a_method_is_refused(monkeypatch):
    explainer, queries = made("graddot")
    own = types.ModuleType("lab.graddot")
    own.attribute = explainer.models.choice.function
    monkeypatch.setattr(explainer.models, "choice", replace(explainer.models.choice, module=own))
    with pytest.raises(UserError, match="no pair score that is differentiable"):
        explainer.features(queries, 0)


def test_clusters_of_a_part_of_the_examples():
    explainer, _ = made("graddot")
    n_train = len(explainer.models.problem.x)
    found = explainer.clusters(2, most=n_train - 5)
    assert len(found.labels) == n_train - 5
    assert explainer.clusters(2, most=n_train).exemplars == explainer.clusters(2).exemplars


def test_the_baseline_may_be_the_mean_of_the_training_set():
    explainer, queries = made("dualda")
    pair = explainer.features(queries, 3, baseline="mean")
    mean = rows(N, 1)[0].double().mean(0)
    side = pair_of(explainer, queries, 3).query
    assert pair.query.baseline_score == pytest.approx(float(side.score(mean[None])[0]))
