"""Lists of examples, sparsity and clusters, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.explanations.carried_score import carrying_examples, supporting_examples
from proponent.explanations.example_clusters import cluster_examples
from proponent.explanations.explained_scores import explain_scores
from proponent.explanations.strongest_examples import (
    nearest_neighbours,
    proponents_everywhere,
    random_of_class,
    strongest,
)

DRAWS = np.random.default_rng(0)
SCORES = DRAWS.normal(size=(5, 30)) * (DRAWS.random((5, 30)) < 0.7)


def test_the_strongest_have_the_right_sign_and_ties_are_broken_by_index():
    proponents, opponents = strongest(np.array([0.0, 2.0, -1.0, 2.0, 0.0, -3.0]), 4)
    assert proponents.tolist() == [1, 3]
    assert opponents.tolist() == [5, 2]


def test_neighbours_are_those_of_the_cosine():
    train, query = DRAWS.normal(size=(20, 4)), DRAWS.normal(size=4)
    train[3] = 0
    cosines = [
        float(row @ query / np.linalg.norm(row) / np.linalg.norm(query)) if row.any() else 0.0
        for row in train
    ]
    indices, values = nearest_neighbours(query, train, 5)
    assert indices.tolist() == sorted(range(20), key=lambda row: -cosines[row])[:5]
    np.testing.assert_allclose(values, sorted(cosines, reverse=True)[:5])


def test_random_examples_of_a_class_are_of_the_class_and_do_not_repeat():
    labels = np.arange(30) % 3
    rows = random_of_class(labels, 2, 20)
    assert (labels[rows] == 2).all()
    assert len(set(rows.tolist())) == len(rows) == 10


def smallest_number(row: np.ndarray, share: float) -> int:
    """Try numbers of examples until their absolute scores reach the share."""
    sizes = sorted(np.abs(row), reverse=True)
    return next(count for count in range(len(row) + 1) if sum(sizes[:count]) >= share * sum(sizes) - 1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1.0])
def test_the_number_of_examples_that_carry_a_share_is_the_smallest_one(share):
    found = carrying_examples(SCORES, [share])[:, 0]
    assert found.tolist() == [smallest_number(row, share) for row in SCORES]


def test_equal_scores_are_carried_by_their_share_and_no_scores_by_none():
    scores = np.stack([np.ones(20), -np.ones(20), np.zeros(20)])
    assert carrying_examples(scores).tolist() == [[10, 18, 20], [10, 18, 20], [0, 0, 0]]
    assert supporting_examples(scores).tolist() == [20, 20, 0]


def test_proponents_everywhere_are_counted():
    found = proponents_everywhere(SCORES, 4)
    expected = np.zeros(30, dtype=int)
    for row in SCORES:
        expected[[i for i in sorted(range(30), key=lambda i: -row[i])[:4] if row[i] > 0]] += 1
    assert found.counts.tolist() == expected.tolist()
    np.testing.assert_allclose(found.relative, np.mean([row / np.abs(row).max() for row in SCORES], axis=0))
    order = found.order()
    assert (np.diff(found.counts[order]) <= 0).all()
    assert found.queries == 5


def test_explanations_become_a_frame():
    classes, labels = np.arange(30) % 3, np.arange(5) % 3
    first, *_ = explain_scores(SCORES, 3, classes=classes, labels=labels, predicted=labels)
    frame = first.to_frame()
    assert frame["list"].value_counts().to_dict() == {"proponents": 3, "opponents": 3, "same class": 3}
    assert frame["value"][0] == pytest.approx(SCORES[0].max())
    assert first.neighbours is None
    assert set(classes[first.same_class.indices]) == {0}


def planted(groups: int = 4, size: int = 12, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines of vectors around orthogonal directions in shuffled order, and the group of each."""
    truth = DRAWS.permutation(np.repeat(np.arange(groups), size))
    vectors = np.eye(groups, 9)[truth] + noise * DRAWS.normal(size=(groups * size, 9))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T, truth


def test_planted_clusters_are_found_and_exemplars_are_typical():
    cosines, truth = planted()
    found = cluster_examples(cosines, 4, exemplars=3)
    for number in range(4):
        rows = np.flatnonzero(found.labels == number)
        assert len(set(truth[rows])) == 1
        assert found.sizes[number] == len(rows) == 12
        means = {row: np.mean([cosines[row, other] for other in rows if other != row]) for row in rows}
        assert list(found.exemplars[number]) == sorted(rows, key=lambda row: -means[row])[:3]
        assert found.cohesion[number] == pytest.approx(np.mean(list(means.values())))


def test_an_example_that_is_similar_to_no_other_one_is_in_no_cluster():
    cosines, _ = planted()
    cosines[5], cosines[:, 5] = 0, 0
    found = cluster_examples(cosines, 4)
    assert found.labels[5] == -1
    assert sum(found.sizes) == len(cosines) - 1


def test_the_clusters_are_the_same_each_time():
    cosines, _ = planted(noise=0.8)
    assert np.array_equal(cluster_examples(cosines, 5).labels, cluster_examples(cosines, 5).labels)


@pytest.mark.parametrize("count", [1, 48])
def test_numbers_of_clusters_out_of_range_are_refused(count):
    with pytest.raises(UserError, match="the number of clusters must be at least 2 and below 48"):
        cluster_examples(planted()[0], count)
