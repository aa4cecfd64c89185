"""Masks from scores and from the data, compared with loops and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proponent.errors import UserError
from proponent.training import derived_masks as derive
from proponent.training.masked_runs import masked_run

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


def test_the_largest_values_come_first():
    values = np.array([0.1, 3.0, -2.0, 0.5])
    assert derive.descending(values, 0).tolist() == [1, 3, 0, 2]


def test_ties_are_broken_at_random_with_equal_chances():
    """Of five values that tie, each is first equally often: expected 200 of 1000, standard deviation 12.6."""
    first = [derive.descending(np.array([0.0, 1, 1, 1, 1, 1, 2]), seed)[1] for seed in range(1000)]
    counts = np.bincount(first, minlength=7)
    assert counts[[0, 6]].tolist() == [0, 0]
    assert np.abs(counts[1:6] - 200).max() < 60


def test_the_first_examples_of_each_order_are_removed():
    orders = [np.array([3, 1, 0, 2]), np.array([0, 2, 3, 1])]
    masks = derive.without_first(orders, [0.25, 0.5], "here")
    assert masks.tolist() == [
        [[1, 1, 1, 0], [1, 0, 1, 0]],
        [[0, 1, 1, 1], [0, 1, 0, 1]],
    ]


def test_a_share_removes_at_least_one_example_and_never_all():
    assert derive.count_of(0.01, 10, "here") == 1
    with pytest.raises(UserError, match=r"here: a share of 0.99 of 10 examples leaves none; lower it"):
        derive.count_of(0.99, 10, "here")


def test_a_balanced_coreset_keeps_the_same_share_of_every_class():
    order = np.random.default_rng(0).permutation(10)
    (mask,) = derive.first_only(order, [0.5], LABELS, "here")
    assert [int((mask & (c == LABELS)).sum()) for c in range(3)] == [2, 2, 2]  # of 4, 3 and 3
    for c in range(3):
        own = [i for i in order if LABELS[i] == c]
        assert mask[own].tolist() == [True] * 2 + [False] * (len(own) - 2)
    (unbalanced,) = derive.first_only(order, [0.5], None, "here")
    assert set(np.flatnonzero(unbalanced)) == set(order[:5])


def test_controls_take_the_query_s_class_and_the_nearest_inputs_first():
    for order, label in zip(derive.same_class_orders(LABELS, np.array([2, 0]), seed=1), [2, 0], strict=True):
        assert sorted(order) == list(range(10))
        count = int((label == LABELS).sum())
        assert set(LABELS[order[:count]]) == {label}
    rng = np.random.default_rng(2)
    x, queries = rng.standard_normal((10, 3)), rng.standard_normal((2, 3))
    for order, query in zip(derive.nearest_orders([x[:4], x[4:]], queries, 0), queries, strict=True):
        assert order.tolist() == np.argsort(np.linalg.norm(x - query, axis=1)).tolist()


def test_random_subsets_have_their_sizes_and_differ():
    masks = derive.random_subsets(20, [0.25, 0.5], 4, 7, "here")
    assert masks.sum(axis=2).tolist() == [[15] * 4, [10] * 4]
    assert len(np.unique(masks.reshape(8, 20), axis=0)) == 8


def test_clusters_of_separate_blobs_are_the_blobs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 2)) + 50 * np.eye(3, 2)[np.arange(30) % 3]
    found = derive.clusters(lambda rows: x[rows], 30, 3, seed=2**62)
    assert len(np.unique(found)) == 3
    for blob in range(3):
        assert len(np.unique(found[blob::3])) == 1


def test_the_largest_groups_are_left_out_one_at_a_time():
    masks, numbers = derive.group_masks(LABELS, 2)
    assert numbers.tolist() == [0, 1]
    assert masks.tolist() == [(LABELS != 0).tolist(), (LABELS != 1).tolist()]
    alone, none = derive.group_masks(np.zeros(4, dtype=int), 5)
    assert alone.shape == (0, 4) and none.shape == (0,)


def test_equal_masks_are_trained_once():
    masks = np.array([[[1, 0, 1], [1, 1, 0]], [[1, 1, 0], [1, 0, 1]]], dtype=bool)
    distinct, rows = derive.unique_masks(masks)
    assert distinct.tolist() == masks[0].tolist()
    assert rows.tolist() == [[0, 1], [1, 0]]


def test_texts_are_compared_by_their_words():
    x = np.array([[1, 2, 0, 0], [2, 1, 0, 0], [3, 3, 3, 0]])
    found = derive.features_of(x, slice(None), derive.number_of_tokens(x))
    assert found[0].tolist() == found[1].tolist()
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1])
    assert found[0] @ found[2] == 0


def test_named_inputs_are_joined():
    x = {"a": np.ones((2, 3, 2)), "b": np.zeros((2, 4), dtype=np.uint8)}
    assert derive.features_of(x, np.array([1])).shape == (1, 10)


def test_paired_retrainings_share_seeds_and_others_do_not():
    mask = torch.ones(3, dtype=torch.bool)
    paired = [masked_run(mask, -1, repeat, 0, "", True) for repeat in (0, 0, 1)]
    assert paired[0].init_seed == paired[1].init_seed != paired[2].init_seed
    apart = {masked_run(mask, row, 0, 0, metric, False).order_seed for row in (0, 1) for metric in "ab"}
    assert len(apart) == 4
