"""Every formula of docs/methods.md, in a few lines of NumPy, against the score file of a tiny setting.

A formula is a function of the setting, the hyper-parameters of the method and, if gradients enter it, of the rows that take
the place of the gradients of the queries. With the gradients of the examples' own -loss in their place, the diagonal is the
self-influence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import beta as beta_function
from scipy.special import comb, log_softmax
from sklearn.linear_model import Lasso
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from docs.documented import Array, Model, Setting, trained
from docs.test_methods import NAMES
from docs.tiny_results import make_results
from oracles.unrolling import differences
from proponent.methods.learned import airrep
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import member_run

Rows = Callable[[Model], Array]
Formula = Callable[[Setting, SimpleNamespace, Rows], Array]

VARIANTS = {
    "trak-2": "",
    "trak-sqrt": "family: trak\nparams: {weighting: sqrt, damping: 3.0, checkpoint: 0.25}\n",
    "trak-2-path": "family: trak\nmembers: 2\ncheckpoints: [0.25, 0.5]\nparams: {growing: true}\n",
    "datamodels-mix": (
        "family: datamodels_mixed\nscores: [trak-2-path, if-cg, kfac]\nparams: {share: 0.3}\n"
    ),
    "relatif-parameter": "family: ekfac\nparams: {relative: parameter}\n",
    "tracin-rate": "family: tracin\nparams: {steps: rate, until: 0.25}\n",
    "trackstar-mixed": "family: trackstar\nparams: {second_moment: gradients, mixing: 0.4}\n",
    "beta-shapley-4": "family: shapley\nparams: {alpha: 4.0}\n",
    "similarity-signed": "family: similarity\nparams: {kind: dot, labels: signed}\n",
    "tfidf-sublinear": "family: tfidf\nparams: {sublinear: true}\n",
    "bm25-signed": "family: bm25\nparams: {labels: signed, b: 0.5}\n",
    "airrep-text-short": "family: airrep_text\nparams: {steps: 10}\n",
}
"""Further hyper-parameters that the page describes, as files in configs/methods/."""

TEXT_ENCODERS = {"airrep-text-short"}
"""Methods that need the extra [text]."""
FORMULAS: dict[tuple[str, str], Formula] = {}
"""By setting and method."""
TOLERANCE = {"trak-projected": 0.3, "if-lissa": 0.01, "datamodels": 0.02}
"""Largest difference relative to the largest score, .001 for most methods. The page says that the projection of the first is
random, that the series of the second is truncated, and that the solver of the third stops at a tolerance."""


def formula(*names: str, setting: str = "formulas") -> Callable[[Formula], Formula]:
    """Register the formula of methods on a setting."""

    def register(function: Formula) -> Formula:
        FORMULAS.update({(setting, name): function for name in names})
        return function

    return register


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the scores of every method."""
    root = tmp_path_factory.mktemp("formulas") / "checkout"
    wanted: dict[str, list[str]] = {}
    for setting, name in (*FORMULAS, ("formulas", "random"), ("formulas", "data-oob")):
        if name not in TEXT_ENCODERS or find_spec("transformers"):
            wanted.setdefault(setting, []).append(name)
    make_results(root, wanted, VARIANTS)
    return root


# Baselines


@formula("same-label")
def same_label(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    return s.y[s.n :, None] == s.y[None, : s.n]


@formula("similarity-cosine", "similarity-dot", "similarity-signed")
def similarity(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    h = s.at(a.checkpoint).h
    if a.kind == "cosine":
        h = h / np.linalg.norm(h, axis=1, keepdims=True)
    return h[s.n :] @ h[: s.n].T * (1 if a.labels == "ignored" else 2 * same_label(s, a, rows) - 1)


@formula("bm25", "bm25-signed", setting="formulas-texts")
def bm25(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    tf, idf, length = counts(s)
    saturated = tf / (tf + a.k1 * (1 - a.b + a.b * length / length.mean()))
    scores = np.stack([(idf * saturated)[:, row[row > 0]].sum(1) for row in s.data["x"][s.n :].numpy()])
    return scores * (1 if a.labels == "ignored" else 2 * same_label(s, a, rows) - 1)


def counts(s: Setting) -> tuple[Array, Array, Array]:
    """Return tf (n, tokens), idf of BM25 (tokens,) and the lengths (n, 1)."""
    x = s.data["x"][: s.n].numpy()
    tf = np.stack([(x == token).sum(1) for token in range(14)], 1) * (np.arange(14) > 0)
    df = (tf > 0).sum(0)
    return tf, np.log(1 + (s.n - df + 0.5) / (df + 0.5)), tf.sum(1, keepdims=True)


@formula("tfidf", "tfidf-sublinear", setting="formulas-texts")
def tfidf(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    x = s.data["x"].numpy()
    tf = np.stack([(x == token).sum(1) for token in range(14)], 1) * (np.arange(14) > 0)
    counted = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) if a.sublinear else tf
    weighted = counted * (np.log((1 + s.n) / (1 + (tf[: s.n] > 0).sum(0))) + 1)
    unit = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    return unit[s.n :] @ unit[: s.n].T


# Gradient similarity


@formula("graddot")
def graddot(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    return m.w * (rows(m) @ m.train.T)


@formula("gradcos")
def gradcos(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    return unit(rows(m)) @ unit(m.train).T


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@formula("tracin", "tracin-rate", "tracin-last")
def tracin(s: Setting, a: SimpleNamespace, rows: Rows, layer: int | None = None) -> Array:
    layer = -1 if a.layers == "last" else layer
    models = [m for m in s.models() if m.duration <= a.until * s.models()[-1].duration]
    growth = np.diff([0, *(m.duration for m in models)])
    total = 0
    for m, grown in zip(models, growth, strict=True):
        span = slice(None) if layer is None else m.spans[layer]
        eta = m.learning_rate if a.steps == "rate" else grown
        total = total + eta / s.n * m.w * (rows(m)[:, span] @ m.train[:, span].T)
    return total


@formula("tracin-we", setting="formulas-texts")
def tracin_we(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    return tracin(s, SimpleNamespace(layers="all", steps="path", until=a.until), rows, layer=0)


@formula("less", setting="formulas-plain")
@formula("less", setting="formulas-adam")
def less(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    recipe = s.config.recipe
    (beta1, beta2), eps, adam = recipe["betas"], recipe["eps"], recipe["optimizer"] != "sgd"
    steps, final = trained(s)
    total = 0
    for point in range(1, a.points + 1):
        t = len(steps) * point // a.points
        m, (first, second) = (
            (steps[t].model, (steps[t].first_moment, steps[t].second_moment))
            if t < len(steps)
            else (final, final_moments(steps, recipe))
        )
        direction = -m.w[:, None] * m.train
        if adam:
            first, second = (
                beta1 * first + (1 - beta1) * direction,
                beta2 * second + (1 - beta2) * direction**2,
            )
            direction = first / (1 - beta1 ** (t + 1)) / (np.sqrt(second / (1 - beta2 ** (t + 1))) + eps)
        total = total - steps[0].rate * unit(rows(m)) @ unit(direction).T
    return total


def final_moments(steps: list, recipe: dict) -> tuple[Array, Array]:
    """Return Adam's moments after the last step."""
    last, (beta1, beta2) = steps[-1], recipe["betas"]
    g = (-last.model.w[:, None] * last.model.train)[last.batch].mean(0)
    return beta1 * last.first_moment + (1 - beta1) * g, beta2 * last.second_moment + (1 - beta2) * g**2


# Influence functions


def shift(s: Setting, a: SimpleNamespace, m: Model) -> float:
    """Return lambda = weight decay + damping / E."""
    return s.config.recipe["weight_decay"] + a.damping / m.duration


@formula("if-exact", "if-cg", "if-lissa")
def if_exact(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    inverse = np.linalg.inv(m.curvature + shift(s, a, m) * np.eye(len(m.curvature)))
    return m.w / s.n * (rows(m) @ inverse @ m.train.T)


@formula("if-arnoldi")
def if_arnoldi(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    values, vectors = np.linalg.eigh(m.curvature)
    values, u = values[-a.rank :], vectors[:, -a.rank :]
    u, values = u[:, values > 1e-6 * values[-1]], values[values > 1e-6 * values[-1]]
    return m.w / s.n * ((rows(m) @ u / (values + shift(s, a, m))) @ (m.train @ u).T)


def eigenbasis(
    models: list[tuple[Model, float]], layer: int, scale: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return Q (d, d) of K-FAC for one layer, with L of K-FAC and of EK-FAC, both averaged over models with weights."""
    name, span = models[0][0].layers[layer], models[0][0].spans[layer]
    rows, columns = models[0][0].shape(name)
    a_side, s_side, second = np.zeros((columns, columns)), np.zeros((rows, rows)), 0
    for m, weight in models:
        g = m.roots[..., span].reshape(m.n, -1, rows, columns)
        outputs, inputs = g[..., -1], m.inputs(name)
        a_side += weight * inputs.T @ inputs / m.n
        s_side += weight * np.einsum("nkr,nkt->rt", outputs, outputs) / m.n
    if scale is not None:
        wanted = scale[span].reshape(rows, columns)
        left, right = wanted.mean(1) / wanted.mean() ** 0.5, wanted.mean(0) / wanted.mean() ** 0.5
        a_side, s_side = a_side * np.outer(right, right), s_side * np.outer(left, left)
    (values_s, q_s), (values_a, q_a) = np.linalg.eigh(s_side), np.linalg.eigh(a_side)
    q = np.kron(q_s, q_a)
    for m, weight in models:
        own = m.roots[..., span] * (1 if scale is None else scale[span])
        second = second + weight * ((own @ q) ** 2).sum((0, 1)) / m.n
    return q, np.outer(values_s, values_a).ravel(), second


@formula("kfac", "ekfac", "relatif", "relatif-parameter")
def ekfac(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    scores = loss = parameter = 0
    for layer, span in enumerate(m.spans):
        q, product, corrected = eigenbasis([(m, 1.0)], layer)
        values = product if a.eigenvalues == "product" else corrected
        damped = values + s.config.recipe["weight_decay"] + a.damping * values.mean()
        c_q, c_i = rows(m)[:, span] @ q, m.train[:, span] @ q
        scores = scores + (c_q / damped) @ c_i.T
        loss, parameter = loss + (c_i**2 / damped).sum(1), parameter + (c_i**2 / damped**2).sum(1)
    if a.relative == "none":
        return m.w / s.n * scores
    return scores / np.sqrt(loss if a.relative == "loss" else parameter)


@formula("datainf")
def datainf(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    total = 0
    for span in m.spans:
        losses = -m.w[:, None] * m.train[:, span]
        damping = a.damping * (losses**2).mean()
        inverses = [np.linalg.inv(np.outer(g, g) + damping * np.eye(len(g))) for g in losses]
        total = total - rows(m)[:, span] @ np.mean(inverses, 0) @ losses.T / s.n
    return total


# Projected influence: no side of these layers is wide enough to be projected


@formula("logra", "grass", "factgrass")
def empirical_fisher(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    per_layer = getattr(a, "factored", True)
    total = 0
    for span in m.spans if per_layer else [slice(None)]:
        losses = m.w[:, None] * m.train[:, span]
        fisher = losses.T @ losses / s.n
        damped = fisher + a.damping * np.trace(fisher) / len(fisher) * np.eye(len(fisher))
        total = total + m.w / s.n * (rows(m)[:, span] @ np.linalg.inv(damped) @ m.train[:, span].T)
    return total


@formula("trackstar", "trackstar-mixed")
def trackstar(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    squares = ((m.w[:, None] * m.train) ** 2).mean(0)
    scale = 1 / np.sqrt(squares) if a.second_moment == "gradients" else np.ones_like(squares)
    inner, length_q, length_i = 0, 0, 0
    for span in m.spans:
        v_q, v_i = rows(m)[:, span] * scale[span], m.train[:, span] * scale[span]
        losses = m.w[:, None] * v_i
        r = a.mixing * v_q.T @ v_q / len(v_q) + (1 - a.mixing) * losses.T @ losses / s.n
        inverse = np.linalg.inv(r + a.damping * np.trace(r) / len(r) * np.eye(len(r)))
        inner = inner + v_q @ inverse @ v_i.T
        length_q = length_q + ((v_q @ inverse) * v_q).sum(1)
        length_i = length_i + ((v_i @ inverse) * v_i).sum(1)
    return inner / np.sqrt(np.outer(length_q, length_i))


# Representer points


@formula("rps")
def rps(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    h, onehot = s.at(a.checkpoint).h1, np.eye(3)[s.y[: s.n]]

    def objective(flat: Array) -> float:
        layer = flat.reshape(-1, 3)
        return -(onehot * log_softmax(h[: s.n] @ layer, 1)).sum() / s.n + a.regularisation * (layer**2).sum()

    layer = minimize(objective, np.zeros(3 * h.shape[1]), options={"gtol": 1e-8}).x.reshape(-1, 3)
    p = np.exp(log_softmax(h[: s.n] @ layer, 1))
    alpha = (onehot - p) / (2 * a.regularisation * s.n)
    return alpha[:, s.y[s.n :]].T * (h[s.n :] @ h[: s.n].T)


@formula("dualda")
def dualda(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    stored, h = s.stored("dualda"), s.at(a.checkpoint).h1
    support, duals = stored["support"].numpy(), stored["duals"].double().numpy()
    bound = a.cost / (h[: s.n] ** 2).sum(1).mean()
    svm = LinearSVC(C=bound, multi_class="crammer_singer", fit_intercept=False, tol=1e-9, max_iter=10**6).fit(
        h[: s.n], s.y[: s.n]
    )
    assert np.allclose(h[support].T @ duals, svm.coef_.T, atol=1e-3 * np.abs(svm.coef_).max())
    scores = np.zeros((len(h) - s.n, s.n))
    scores[:, support] = duals[:, s.y[s.n :]].T * (h[s.n :] @ h[support].T)
    return scores


# Values without retraining


@formula("knn-shapley")
def knn_shapley(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    h = s.at(a.checkpoint).h
    scores = np.zeros((len(h) - s.n, s.n))
    for q, own in enumerate(h[s.n :]):
        order = ((h[: s.n] - own) ** 2).sum(1).argsort(kind="stable")
        match = (s.y[order] == s.y[s.n + q]).astype(float)
        value = match[-1] * min(a.neighbours, s.n) / (s.n * a.neighbours)
        scores[q, order[-1]] = value
        for j in range(s.n - 1, 0, -1):
            value += (match[j - 1] - match[j]) * min(a.neighbours, j) / (a.neighbours * j)
            scores[q, order[j - 1]] = value
    return scores


@formula("lava")
def lava(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    h = s.at(a.checkpoint).h
    h = h / np.sqrt((h[: s.n] ** 2).sum(1).mean())
    train, query, y, z = h[: s.n], h[s.n :], s.y[: s.n], s.y[s.n :]

    def between(c: int, d: int) -> float:
        """Squared 2-Wasserstein distance of two Gaussians."""
        one, two = train[y == c], query[z == d]
        a_, b_ = np.cov(one.T, bias=True), np.cov(two.T, bias=True)
        root = root_of(a_)
        cross = np.trace(root_of(root @ b_ @ root))
        return ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(a_) + np.trace(b_) - 2 * cross

    classes = np.array([[between(c, d) for d in range(3)] for c in range(3)])
    cost = ((train[:, None] - query[None]) ** 2).sum(2) + a.label_weight * classes[y][:, z]
    kernel = np.exp(-cost / (a.entropy * cost.mean()))
    u = np.ones(s.n)
    for _ in range(5000):
        v = 1 / len(query) / (kernel.T @ u)
        u = 1 / s.n / (kernel @ v)
    f = a.entropy * cost.mean() * np.log(u)
    value = -(f - (f.sum() - f) / (s.n - 1))
    return np.tile(value, (len(query), 1))


@formula("el2n")
def el2n(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    p = s.at(a.checkpoint).p[: s.n]
    value = np.sqrt(((p - np.eye(3)[s.y[: s.n]]) ** 2).sum(1))
    return np.tile(value, (len(s.y) - s.n, 1))


@formula("aum")
def aum(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    y, own = s.y[: s.n], np.arange(s.n)
    margins = []
    for m in s.models():
        logits = np.log(m.p[: s.n])  # up to a constant of the example, which margins do not have
        others = np.where(np.eye(3)[y] == 1, -np.inf, logits)
        margins.append(logits[own, y] - others.max(1))
    return np.tile(-np.mean(margins, axis=0), (len(s.y) - s.n, 1))


@formula("grand")
def grand(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    return np.tile(m.w * np.linalg.norm(m.train, axis=1), (len(m.query), 1))


@formula("forgetting")
def forgetting(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    right = np.array([m.p[: s.n].argmax(1) == s.y[: s.n] for m in s.models()])
    value = [
        sum(own[k] and not own[k + 1] for k in range(len(own) - 1)) if own.any() else len(own)
        for own in right.T
    ]
    return np.tile(np.array(value, dtype=float), (len(s.y) - s.n, 1))


def root_of(matrix: Array) -> Array:
    """Return the square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


# TRAK


def kernel(s: Setting, m: Model, weighting: str, damping: float, rows: Rows) -> Array:
    """Return g_q^T (Phi^T R Phi + lambda)^-1 g_i with lambda in units of the mean diagonal of R^1/2 Phi Phi^T R^1/2."""
    spread = m.w * (1 - m.w)
    r = {"none": np.ones(s.n), "full": spread, "sqrt": np.sqrt(spread)}[weighting]
    matrix = m.train.T @ (r[:, None] * m.train)
    return (
        rows(m) @ np.linalg.inv(matrix + damping * np.trace(matrix) / s.n * np.eye(len(matrix))) @ m.train.T
    )


@formula("trak", "trak-sqrt", "trak-projected")
def trak(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    m = s.at(a.checkpoint)
    return kernel(s, m, a.weighting, a.damping, rows) * m.w


@formula("trak-2", "trak-2-path")
def trak_averaged(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    models = [s.at(fraction, member) for fraction in a.checkpoints for member in range(2)]
    dampings = [a.damping * (m.step / s.training["steps"][-1] if a.growing else 1) for m in models]
    kernels = [kernel(s, m, a.weighting, damping, rows) for m, damping in zip(models, dampings, strict=True)]
    return np.mean(kernels, 0) * np.mean([m.w for m in models], 0)


# Unrolling


def mean_decay(length: float, h: Array) -> Array:
    """Return F(E, H) = (1 - exp(-E H)) / H for eigenvalues H."""
    return -np.expm1(-length * h) / h


def segments(s: Setting, a: SimpleNamespace) -> list[list[tuple[int, float]]]:
    """Return the checkpoints of each segment, and their shares: the overlap of what they represent with the segment."""
    ends = [m.duration for m in s.models()]
    first = max(0, len(ends) - a.checkpoints)
    starts, length = [0.0, *ends[first:-1]], ends[-1] / a.segments
    found = []
    for number in range(a.segments):
        low, high = number * length, (number + 1) * length
        overlap = [
            max(0.0, min(end, high) - max(start, low))
            for start, end in zip(starts, ends[first:], strict=True)
        ]
        found.append([(first + k, part / sum(overlap)) for k, part in enumerate(overlap) if part > 0])
    return found


@formula("source")
@formula("source-adam", setting="formulas-adam")
def source(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    models, length = s.models(), s.models()[-1].duration / a.segments
    adam = s.config.recipe["optimizer"] == "adamw"
    p = preconditioners(s) if adam else [np.ones(models[0].g.shape[1])] * len(models)
    u, scores = rows(models[-1]), 0
    for parts in reversed(segments(s, a)):
        scale = np.sqrt(sum(share * p[k] for k, share in parts))
        reached, decayed = np.zeros_like(u), np.zeros_like(u)
        for layer, span in enumerate(models[0].spans):
            shares = [(models[k], share) for k, share in parts]
            q, _, values = eigenbasis(shares, layer, scale if adam else None)
            h = values + s.config.recipe["weight_decay"]
            c = (u[:, span] * scale[span]) @ q
            reached[:, span] = (c * mean_decay(length, h)) @ q.T * scale[span]
            decayed[:, span] = (c * np.exp(-length * h)) @ q.T / scale[span]
        losses = sum(share * -models[k].w[:, None] * models[k].train for k, share in parts)
        scores, u = scores - reached @ losses.T / s.n, decayed
    return scores


def preconditioners(s: Setting) -> list[Array]:
    """Return P = 1 / (sqrt(v) + eps) at each checkpoint, v with its bias corrected."""
    steps, _ = trained(s)
    recipe = s.config.recipe
    moments = [step.second_moment for step in steps] + [final_moments(steps, recipe)[1]]
    return [
        1 / (np.sqrt(moments[t] / (1 - recipe["betas"][1] ** t)) + recipe["eps"]) for t in s.training["steps"]
    ]


@formula("source-fast")
def source_fast(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    models, length = s.models(), s.models()[-1].duration / a.segments
    states = [m.module.state_dict() for m in models]
    u, scores = rows(models[-1]), 0
    for parts in reversed(segments(s, a)):
        mean = s.model({name: sum(share * states[k][name] for k, share in parts) for name in states[0]}, 0)
        reached, decayed = np.zeros_like(u), np.zeros_like(u)
        for layer, span in enumerate(mean.spans):
            q, _, values = eigenbasis([(mean, 1.0)], layer)
            h, c = values + s.config.recipe["weight_decay"], u[:, span] @ q
            reached[:, span], decayed[:, span] = (
                (c * mean_decay(length, h)) @ q.T,
                (c * np.exp(-length * h)) @ q.T,
            )
        scores, u = scores + reached @ (mean.w[:, None] * mean.train).T / s.n, decayed
    return scores


@formula("dvemb", setting="formulas-plain")
def dvemb(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    steps, final = trained(s)
    u, scores = rows(final), np.zeros((len(rows(final)), s.n))
    for step in reversed(steps):
        losses = (-step.model.w[:, None] * step.model.train)[step.batch]
        scores[:, step.batch] -= step.rate / len(step.batch) * u @ losses.T
        u = u - step.rate * u @ losses.T @ losses / len(step.batch)
    return scores


@formula("magic", setting="formulas-plain")
def magic(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    x, y, n = s.data["x"].double(), s.data["y"], s.n
    data, run = Arrays(x[:n], y[:n], x[n:], y[n:]), member_run(s.config.seed, 0)
    return differences(s.build_with, data, s.recipe, run, get_task("classification")).numpy()


# Learning from retrainings


def centred(s: Setting) -> tuple[Array, Array]:
    """Return masks X (m, n) and targets y (m, n_query) of the ``fit`` design, minus their means."""
    masks, targets = s.retrainings("fit")
    y = targets.mean(1)
    return masks - masks.mean(0), y - y.mean(0)


@formula("datamodels")
def datamodels(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    x, y = centred(s)
    found, scores = [], s.scores("datamodels")
    for q, own in enumerate(scores):
        largest = np.abs(x.T @ y[:, q]).max() / len(x)
        path = [
            Lasso(largest * share, tol=1e-10, max_iter=10**6, fit_intercept=False).fit(x, y[:, q]).coef_
            for share in np.geomspace(1, 0.03, 12)
        ]
        found.append(min(path, key=lambda theta, own=own: np.abs(theta - own).max()))
    return np.array(found)


@formula("datamodels-ridge")
def datamodels_ridge(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    x, y = centred(s)
    gram = x @ x.T
    candidates = [
        (x.T @ np.linalg.solve(gram + lam * np.trace(gram) / len(x) * np.eye(len(x)), y)).T
        for lam in 10.0 ** (np.arange(-4, 9) / 2)
    ]
    return nearest_rows(candidates, s.scores("datamodels-ridge"))


def nearest_rows(candidates: list[Array], scores: Array) -> Array:
    """Return for each query the nearest candidate: the page leaves the choice of the penalty to left-out errors."""
    gaps = np.array([np.abs(candidate - scores).max(1) for candidate in candidates])
    return np.array([candidates[best][q] for q, best in enumerate(gaps.argmin(0))])


def around_prior(s: Setting, p: Array, scores: Array) -> Array:
    """Return the minimum over b, s and theta for the penalty nearest to the scores, by least squares."""
    x, y = centred(s)
    v = np.abs(p) / np.abs(p).mean(1, keepdims=True) + 0.05
    candidates = []
    for relative in 10.0 ** (np.arange(-4, 9) / 2):
        rows = []
        for q, prior in enumerate(p):
            lam = relative * np.trace((x * v[q]) @ x.T) / len(x)
            # unknowns theta (n,) and s: the penalty is a block of further equations
            penalty = np.sqrt(lam / v[q])[:, None] * np.hstack([np.eye(s.n), -prior[:, None]])
            matrix = np.vstack([np.hstack([x, np.zeros((len(x), 1))]), penalty])
            right = np.concatenate([y[:, q], np.zeros(s.n)])
            rows.append(np.linalg.lstsq(matrix, right, rcond=None)[0][: s.n])
        candidates.append(np.array(rows))
    return nearest_rows(candidates, scores)


@formula("datamodels-prior")
def datamodels_prior(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    return around_prior(s, trak(s, a, rows), s.scores("datamodels-prior"))


@formula("datamodels-mix")
def datamodels_mixed(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    parts = [s.scores(name) for name in ("trak-2-path", "if-cg", "kfac")]
    first, second, third = (unit(part - part.mean(1, keepdims=True)) for part in parts)
    return around_prior(s, first + a.share * (second + third) / np.sqrt(2), s.scores("datamodels-mix"))


@formula("empirical-influence", "banzhaf")
def empirical_influence(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    masks, targets = s.retrainings("fit")
    y = targets.mean(1)
    return np.stack([y[kept > 0].mean(0) - y[kept == 0].mean(0) for kept in masks.T], 1)


@formula("data-shapley", "beta-shapley-4")
def shapley(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    masks, targets = s.retrainings("permutations")
    orders, y = masks.reshape(-1, 10, s.n), targets.mean(1).reshape(-1, 10, targets.shape[2])
    j = np.arange(1, s.n + 1)
    place = (
        comb(s.n - 1, j - 1)
        * beta_function(j + a.beta - 1, s.n - j + a.alpha)
        / beta_function(a.alpha, a.beta)
    )
    everything, shortest = y[:, -1].mean(0), y[:, 0].mean(0)
    total, received = np.zeros((s.n, y.shape[2])), np.zeros((s.n, 1))
    for masks_, values in zip(orders, y, strict=True):
        near = np.abs(values - everything) < 0.01 * np.abs(everything - shortest)
        for k in range(1, 10):
            block = (masks_[k] > masks_[k - 1]).nonzero()[0]
            low, high = int(masks_[k - 1].sum()), int(masks_[k].sum())
            weight = place[low:high].mean()
            added = (values[k] - values[k - 1]) / len(block) * ~near[:k].any(0)
            total[block] += weight * added
            received[block] += weight
    return (total / np.maximum(received, 1e-300)).T


@formula("airrep")
def airrep_scores(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    return attention_over_groups(s, s.stored("airrep"))


@formula("airrep-text-short", setting="formulas-texts")
def airrep_text_scores(s: Setting, a: SimpleNamespace, rows: Rows) -> Array:
    return attention_over_groups(s, s.stored("airrep-text-short"))


def attention_over_groups(s: Setting, stored: dict[str, Tensor]) -> Array:
    """Return the scores from the embeddings, after a comparison of the predictions for groups."""
    query, train = (stored[name].double().numpy() for name in ("query", "train"))
    products = 20 * np.tanh(query @ train.T / 20)
    masks, _ = s.retrainings("fit")
    attention = np.exp(np.abs(products))[None] * masks[:, None]
    expected = (attention / attention.sum(2, keepdims=True) * products).sum(2)
    found = airrep.group_scores(stored, torch.from_numpy(masks > 0)).double().numpy()
    assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    return products


def query_rows(m: Model) -> Array:
    return m.query


def own_rows(m: Model) -> Array:
    """Gradients of the examples' own -loss."""
    return m.w[:, None] * m.train


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "name"), FORMULAS)
def test_the_scores_are_the_documented_expression(root: Path, setting: str, name: str) -> None:
    if name in TEXT_ENCODERS:
        pytest.importorskip("transformers", reason="needs the extra [text]")
    s = Setting(root, setting)
    expected = np.asarray(FORMULAS[setting, name](s, s.params(name), query_rows), dtype=float)
    scores = s.scores(name)
    assert np.abs(scores - expected).max() <= TOLERANCE.get(name, 1e-3) * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "graddot",
        "tracin",
        "tracin-last",
        "if-exact",
        "kfac",
        "ekfac",
        "relatif",
        "datainf",
        "logra",
        "grass",
        "factgrass",
    ],
)
def test_self_influence_is_the_score_of_an_example_on_its_own_negative_loss(root: Path, name: str) -> None:
    s = Setting(root, "formulas")
    expected = np.diag(FORMULAS["formulas", name](s, s.params(name), own_rows))
    found = s.stored(name)["self_influence"].double().numpy()
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_self_influence_of_trak_has_a_smaller_damping(root: Path) -> None:
    s = Setting(root, "formulas")
    expected = np.diag(trak(s, SimpleNamespace(**{**vars(s.params("trak")), "damping": 0.01}), own_rows))
    found = s.stored("trak")["self_influence"].double().numpy()
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_random_scores_are_standard_normal(root: Path) -> None:
    scores = Setting(root, "formulas").scores("random")
    assert abs(scores.mean()) < 3 / np.sqrt(scores.size)
    assert abs(scores.std() - 1) < 3 / np.sqrt(2 * scores.size)


@pytest.mark.slow
def test_data_oob_is_the_share_of_correct_trees_without_the_example(root: Path) -> None:
    """Other bootstrap samples than the method's: the values agree within their standard error."""
    s = Setting(root, "formulas")
    h, y, random = s.at(1.0).h[: s.n], s.y[: s.n], np.random.default_rng(5)
    right, count = np.zeros(s.n), np.zeros(s.n)
    for seed in range(200):
        drawn = random.integers(s.n, size=s.n)
        out = np.setdiff1d(np.arange(s.n), drawn)
        tree = DecisionTreeClassifier(max_features="sqrt", random_state=seed).fit(h[drawn], y[drawn])
        right[out] += tree.predict(h[out]) == y[out]
        count[out] += 1
    assert np.abs(s.scores("data-oob")[0] - right / count).mean() < 0.06
    assert (s.scores("data-oob") == s.scores("data-oob")[0]).all()


WITHOUT_FORMULA = {
    "random": "a distribution, tested above",
    "data-oob": "a random forest, tested above",
    "trak-dropout": "random variants of a network; the kernel of each is TRAK's",
    "trak-lora": "random variants of a network; the kernel of each is TRAK's",
}
OTHER_SIZE = {
    "trak-20-path": "trak-2-path",
    "datamodels-prior-20-path": "datamodels-prior",
    "datamodels-mixed": "datamodels-mix",
    "beta-shapley": "beta-shapley-4",
    "airrep-text": "airrep-text-short",
}
"""The same formula with what thirty examples deserve: fewer members or steps."""


def test_every_method_of_the_page_has_its_formula_here() -> None:
    here = {name for _, name in FORMULAS}
    missing = {
        name for name in NAMES if name not in WITHOUT_FORMULA and OTHER_SIZE.get(name, name) not in here
    }
    assert not missing
