"""Text baselines on token numbers, by hand and by their formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from proponent.methods.baselines import bm25, tfidf


def texts(train: list[list[int]], query: list[list[int]], labels=None) -> SimpleNamespace:
    length = max(map(len, train + query))
    padded = [np.array([row + [0] * (length - len(row)) for row in rows]) for rows in (train, query)]
    y_train, y_query = labels or (np.zeros(len(train)), np.zeros(len(query)))
    return SimpleNamespace(x_train=padded[0], x_query=padded[1], y_train=y_train, y_query=y_query)


def test_bm25_of_three_texts_by_hand() -> None:
    """Lengths 3, 2 and 1, mean 2; token 5 is in two texts, 6 in two, 7 in one, 9 in none."""
    data = texts([[5, 5, 6], [5, 7], [6]], [[5, 7], [9, 5]])
    scores = bm25.attribute(data, k1=1.2, b=0.75)
    idf_5, idf_7 = np.log(1 + 1.5 / 2.5), np.log(1 + 2.5 / 1.5)
    twice = idf_5 * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    once = idf_5 / (1 + 1.2)
    expected = [[twice, once + idf_7 / (1 + 1.2), 0], [twice, once, 0]]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def random_texts() -> SimpleNamespace:
    generator = np.random.default_rng(0)

    def rows(n: int) -> list[list[int]]:
        return [generator.integers(1, 30, size=generator.integers(1, 20)).tolist() for _ in range(n)]

    return texts(rows(25), rows(6))


@pytest.mark.parametrize("k1, b", [(0.9, 0.4), (2.0, 0.75), (1.5, 0.0)])
def test_bm25_is_its_formula(random_texts: SimpleNamespace, k1: float, b: float) -> None:
    scores = bm25.attribute(random_texts, k1=k1, b=b)
    assert scores.dtype == np.float32
    train = [[token for token in row if token] for row in random_texts.x_train.tolist()]
    mean = np.mean([len(row) for row in train])
    for q, row in enumerate(random_texts.x_query.tolist()):
        for i, text in enumerate(train):
            expected = 0.0
            for token in filter(None, row):
                df = sum(token in other for other in train)
                idf = np.log(1 + (len(train) - df + 0.5) / (df + 0.5))
                tf = text.count(token)
                expected += idf * tf / (tf + k1 * (1 - b + b * len(text) / mean))
            assert scores[q, i].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sublinear", [False, True])
def test_tfidf_is_its_formula(random_texts: SimpleNamespace, sublinear: bool) -> None:
    counts = [
        np.array([[row.count(token) for token in range(1, 30)] for row in x.tolist()], dtype=float)
        for x in (random_texts.x_train, random_texts.x_query)
    ]
    idf = np.log((1 + 25) / (1 + (counts[0] > 0).sum(0))) + 1
    if sublinear:
        counts = [np.where(c > 0, 1 + np.log(np.maximum(c, 1)), 0) for c in counts]
    train, query = (c * idf / np.linalg.norm(c * idf, axis=1, keepdims=True) for c in counts)
    scores = tfidf.attribute(random_texts, sublinear=sublinear)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, query @ train.T, atol=1e-6)


@pytest.mark.parametrize("module", [bm25, tfidf])
def test_a_copy_is_the_strongest_proponent_and_labels_may_sign(module) -> None:
    rows = [[2, 3, 4], [5, 6, 7], [2, 8, 9]]
    labels = (np.array([0, 1, 1]), np.array([0, 1]))
    data = texts(rows, rows[:2], labels)
    plain = module.attribute(data)
    assert plain.argmax(1).tolist() == [0, 1]
    assert plain.min() >= 0
    signed = module.attribute(data, labels="signed")
    assert signed[0, 0] == plain[0, 0]
    assert signed[0, 2] == -plain[0, 2] < 0


@pytest.mark.parametrize("module", [bm25, tfidf])
def test_padding_is_not_a_token(module) -> None:
    rows, query = [[2, 3], [4]], [[3, 4]]
    data = texts(rows, query)
    wider = SimpleNamespace(**vars(data))
    wider.x_train = np.pad(data.x_train, ((0, 0), (0, 5)))
    np.testing.assert_allclose(module.attribute(data), module.attribute(wider), rtol=1e-6)
