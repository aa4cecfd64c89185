"""Metrics of rankings: brute force, cases with an obvious answer, and random scores within the interval of chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from oracles import rankings
from proponent import metrics
from proponent.errors import UserError
from proponent.metrics import (
    cardinality,
    duplicates,
    label_randomisation,
    method_agreement,
    mixed_domain,
    randomisation,
    retrieval,
    same_class,
    shortcut,
    sparsity,
    stability,
    subclass,
)
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs

N, Q = 60, 40
RNG = np.random.default_rng(0)
Y, Y_QUERY = np.arange(N) % 3, np.arange(Q) % 3
FINE, FINE_QUERY = np.arange(N) % 6, np.arange(Q) % 6
PLANTED = np.arange(N) % 12 == 0
STAMPED = np.arange(Q) % 2 == 0
DUPLICATE_OF = np.where(np.arange(N) >= 30, np.arange(N) - 30, -1)
FACT, FACT_QUERY = np.arange(N) // 2, np.arange(Q)
TRUTH = {
    "subclass": FINE,
    "subclass_queries": FINE_QUERY,
    "shortcut": PLANTED,
    "shortcut_queries": STAMPED,
    "duplicate_of": DUPLICATE_OF,
    "domain": PLANTED,
    "domain_queries": STAMPED,
    "fact": FACT,
    "fact_queries": FACT_QUERY,
}


def inputs(scores: np.ndarray, **more) -> MetricInputs:
    return MetricInputs(scores, labels=(Y, Y_QUERY), planted=TRUTH, **more)


def evaluate(module, scores: np.ndarray, **params) -> dict[str, Estimate]:
    return module.evaluate(inputs(scores), resamples=200, **params)


RANDOM = [np.random.default_rng(seed).standard_normal((Q, N)) for seed in range(40)]
WITH_CHANCE = {
    "same_class_10": same_class,
    "subclass_10": subclass,
    "shortcut_auprc": shortcut,
    "shortcut_group_auprc": shortcut,
    "mixed_domain_auprc": mixed_domain,
    "duplicates_mrr": duplicates,
    "duplicates_recall_10": duplicates,
    "mrr": retrieval,
    "recall_10": retrieval,
    "cardinality_10": cardinality,
}
PARAMS = {shortcut: {"references": 4}}


@pytest.mark.parametrize("name", WITH_CHANCE)
def test_random_scores_have_the_value_of_chance(name):
    module = WITH_CHANCE[name]
    found = [evaluate(module, scores, **PARAMS.get(module, {}))[name] for scores in RANDOM]
    chance = found[0].extras["chance"]
    values = np.array([estimate.value for estimate in found])
    assert chance == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))
    covered = np.mean([estimate.ci_low <= chance <= estimate.ci_high for estimate in found])
    # 34 of 40 intervals that cover 95 % contain chance with probability .99. Reciprocal ranks have a heavy tail near chance.
    assert covered >= (0.6 if name.endswith("mrr") else 0.85)


@pytest.mark.parametrize("name", WITH_CHANCE)
def test_constant_scores_have_the_value_of_chance_and_are_counted(name):
    module = WITH_CHANCE[name]
    found = evaluate(module, np.zeros((Q, N)), **PARAMS.get(module, {}))[name]
    assert found.value == pytest.approx(found.extras["chance"])
    assert found.extras["n_constant_scores"] > 0


PERFECT = {
    "same_class_10": (same_class, (Y_QUERY[:, None] == Y) * 1.0),
    "subclass_10": (subclass, (FINE_QUERY[:, None] == FINE) * 1.0),
    "shortcut_auprc": (shortcut, -1.0 * PLANTED * np.ones((Q, 1))),
    "shortcut_group_auprc": (shortcut, -1.0 * PLANTED * np.ones((Q, 1))),
    "mixed_domain_auprc": (mixed_domain, PLANTED * np.ones((Q, 1))),
    "mixed_domain_group_auprc": (mixed_domain, PLANTED * np.ones((Q, 1))),
    "mrr": (retrieval, (FACT_QUERY[:, None] == FACT) * 1.0),
    "recall_10": (retrieval, (FACT_QUERY[:, None] == FACT) * 1.0),
}


@pytest.mark.parametrize("name", PERFECT)
def test_a_perfect_score_has_the_largest_value(name):
    module, scores = PERFECT[name]
    found = evaluate(module, scores, **PARAMS.get(module, {}))[name]
    assert found.value == pytest.approx(found.extras.get("best", 1.0))
    assert found.value == pytest.approx(found.ci_high) == pytest.approx(found.ci_low)


def test_classes_smaller_than_k_bound_the_value():
    found = metrics.same_class(np.eye(4), [0, 1, 2, 2], [0, 1, 2, 2], k=2)
    assert found.extras["best"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_values_equal_those_of_all_orders_of_equal_scores(seed):
    scores = np.random.default_rng(seed).integers(0, 3, (3, 7)).astype(float)
    labels, query_labels = np.arange(7) % 2, np.array([0, 1, 0])
    relevant = query_labels[:, None] == labels
    planted = np.array([1, 0, 0, 1, 0, 0, 0], dtype=bool)

    def mean(measure, values, flags):
        return np.mean([rankings.expected(measure, v, f) for v, f in zip(values, flags, strict=True)])

    assert metrics.same_class(scores, labels, query_labels, k=3).value == pytest.approx(
        mean(rankings.precision_at(3), scores, relevant)
    )
    assert metrics.shortcut(scores, planted).value == pytest.approx(
        mean(rankings.average_precision, -scores, [planted] * 3)
    )
    assert metrics.shortcut(scores, planted, opponents=False).value == pytest.approx(
        mean(rankings.average_precision, scores, [planted] * 3)
    )
    found = metrics.retrieval(scores, relevant, k=3)
    assert found["mrr"].value == pytest.approx(mean(rankings.reciprocal_rank, scores, relevant))
    recalls = [
        rankings.expected(rankings.precision_at(3), row, flags) * 3 / flags.sum()
        for row, flags in zip(scores, relevant, strict=True)
    ]
    assert found["recall_3"].value == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("seed", range(4))
def test_the_cardinality_equals_the_number_of_different_examples_over_all_orders(seed):
    scores = np.random.default_rng(seed).integers(0, 2, (2, 4)).astype(float)
    assert metrics.cardinality(scores, k=2).value == pytest.approx(rankings.distinct_at(scores, 2) / 4)


def test_the_cardinality_of_scores_that_ignore_the_query_is_the_worst():
    scores = np.repeat(RNG.standard_normal((1, N)), Q, axis=0)
    found = metrics.cardinality(scores, k=5)
    assert found.value == pytest.approx(found.extras["worst"]) == pytest.approx(1 / Q)
    own = np.zeros((6, N))
    own[np.arange(30) // 5, np.arange(30)] = 1
    assert metrics.cardinality(own, k=5).value == pytest.approx(1.0)


def test_copies_with_the_scores_of_their_originals_are_found_and_those_with_noise_less():
    scores = RNG.standard_normal((Q, N))
    scores[:, 30:] = scores[:, :30]
    exact = metrics.duplicates(scores, DUPLICATE_OF, k=1)
    assert exact["duplicates_mrr"].value == exact["duplicates_recall_1"].value == 1.0
    noisy = metrics.duplicates(scores + 2 * RNG.standard_normal(scores.shape), DUPLICATE_OF)
    assert noisy["duplicates_mrr"].extras["chance"] < noisy["duplicates_mrr"].value < 1


def test_the_rank_of_an_original_equals_a_plain_loop():
    scores = RNG.standard_normal((5, N))
    expected = []
    for copy in np.flatnonzero(DUPLICATE_OF >= 0):
        cosines = [
            scores[:, copy] @ scores[:, i] / np.linalg.norm(scores[:, copy]) / np.linalg.norm(scores[:, i])
            for i in range(N)
        ]
        cosines[copy] = -np.inf
        expected.append(1 / (1 + sum(c > cosines[DUPLICATE_OF[copy]] for c in cosines)))
    found = metrics.duplicates(scores, DUPLICATE_OF)["duplicates_mrr"]
    assert found.value == pytest.approx(np.mean(expected))


def test_reference_queries_together_find_a_group_better_than_alone():
    weak = RNG.standard_normal((Q, N)) - 0.7 * PLANTED
    alone, together = metrics.shortcut(weak, PLANTED), metrics.shortcut(weak, PLANTED, references=8)
    assert together.value > alone.ci_high
    assert together.extras["n_sets"] == Q // 8


def test_a_query_with_large_scores_does_not_outweigh_its_set():
    scores = -1.0 * PLANTED * np.ones((8, 1)) + 0.1 * RNG.standard_normal((8, N))
    scores[0] = 1e6 * RNG.standard_normal(N)
    assert metrics.shortcut(scores, PLANTED, references=4).value > 0.9


@pytest.mark.parametrize(
    ("row", "expected"), [([1.0] * 10, 0.1), ([1.0] + [0.0] * 9, 0.91), ([0.0] * 10, 0.0)]
)
def test_sparsity_of_simple_scores(row, expected):
    found = metrics.sparsity([row])
    assert found.value == pytest.approx(expected)
    assert found.extras["n_constant"] == (expected == 0)
    assert metrics.sparsity(-10 * np.array([row])).value == pytest.approx(expected)


def test_sparsity_counts_the_largest_scores():
    row = np.array([5.0, -3.0, 1.0, 1.0])  # 90 % of 10 is 9: all of 5, 3 and 1
    assert metrics.sparsity([row]).value == pytest.approx(1 - 3 / 4)
    normal = metrics.sparsity(np.random.default_rng(0).standard_normal((20, 5000)))
    assert normal.value == pytest.approx(0.354, abs=0.01)


def test_agreement_and_stability_are_the_correlation_of_scipy():
    a, b = np.round(RNG.standard_normal((5, N)), 1), np.round(RNG.standard_normal((5, N)), 1)
    expected = np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    pairs = metrics.method_agreement({"a": a, "b": b, "c": -a})
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs["a", "b"].value == pytest.approx(expected)
    assert pairs["a", "c"].value == -1.0
    assert metrics.stability(a, b).value == pytest.approx(expected)
    assert metrics.stability(a, a).value == 1.0
    each = [1 - abs(spearmanr(x, y).statistic) for x, y in zip(a, b, strict=True)]
    assert metrics.randomisation(a, b).value == pytest.approx(np.mean(each))
    assert metrics.randomisation(a, -a).value == 0.0


def test_a_permutation_of_the_data_that_is_undone_changes_nothing():
    order = RNG.permutation(N)
    scores = RNG.standard_normal((Q, N))
    assert metrics.stability(scores, scores[:, order][:, np.argsort(order)]).value == pytest.approx(1.0)


def test_constant_scores_count_as_zero_in_correlations():
    scores = RNG.standard_normal((4, N))
    scores[0] = 2.0
    other = RNG.standard_normal((4, N))
    for found in (metrics.stability(scores, other), metrics.randomisation(scores, other)):
        assert found.extras["per_query"][0] == 0.0
        assert found.extras["n_constant"] == 1
    assert metrics.method_agreement({"a": scores, "b": other})["a", "b"].extras["n_constant"] == 1


def test_independent_scores_neither_agree_nor_are_stable():
    found = [metrics.stability(a, b, resamples=200) for a, b in zip(RANDOM[::2], RANDOM[1::2], strict=True)]
    assert np.mean([estimate.ci_low <= 0 <= estimate.ci_high for estimate in found]) >= 0.8


@pytest.mark.parametrize(
    "module", [same_class, subclass, shortcut, mixed_domain, duplicates, retrieval, cardinality, sparsity]
)
def test_scores_that_are_not_finite_are_an_error(module):
    scores = RNG.standard_normal((Q, N))
    scores[2, 3] = np.nan
    with pytest.raises(UserError, match=r"1 of .* values are NaN or infinite"):
        evaluate(module, scores)


@pytest.mark.parametrize(
    "module",
    [
        same_class,
        subclass,
        shortcut,
        mixed_domain,
        duplicates,
        retrieval,
        stability,
        randomisation,
        label_randomisation,
    ],
)
def test_a_setting_without_what_a_metric_needs_is_named_in_one_line(module):
    with pytest.raises(UserError, match=f"metric {module.__name__.rpartition('.')[2]}: ") as refusal:
        module.evaluate(MetricInputs(np.zeros((Q, N))))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: metrics.same_class(np.ones((2, 3)), [0, 1, 1], [0, 1], k=4), "k is 4, but there are 3"),
        (lambda: metrics.same_class(np.ones((2, 3)), [0, 1], [0, 1], k=1), r"labels: expected one .* \(3,\)"),
        (lambda: metrics.same_class(np.ones((2, 3)), [[0, 1]], [0, 1], k=1), "labels: expected one label"),
        (lambda: metrics.shortcut(np.ones((2, 3)), [2, 0, 1]), "planted: expected True for planted examples"),
        (lambda: metrics.shortcut(np.ones((2, 3)), [0, 0, 0]), "0 of 3 examples are planted"),
        (lambda: metrics.shortcut(np.ones((2, 3)), [1, 0, 0], references=2), "two sets of 2 reference"),
        (lambda: metrics.duplicates(np.ones((2, 3)), [-1, -1, 7], k=1), "duplicate_of: expected"),
        (lambda: metrics.duplicates(np.ones((2, 3)), [-1, -1, -1], k=1), "no example is a copy"),
        (lambda: metrics.retrieval(np.ones((2, 3)), np.zeros((2, 3)), k=1), "no query has a source"),
        (lambda: metrics.method_agreement({"a": np.ones((2, 3))}), "at least two methods"),
        (lambda: metrics.stability(np.ones((2, 3)), np.ones((2, 4))), "scores to compare with: expected"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, reason):
    with pytest.raises(UserError, match=reason):
        call()


def test_metrics_of_a_setting_and_of_plain_arrays_are_the_same():
    scores = RANDOM[0]
    pairs = [
        (same_class.evaluate(inputs(scores))["same_class_10"], metrics.same_class(scores, Y, Y_QUERY)),
        (subclass.evaluate(inputs(scores))["subclass_10"], metrics.subclass(scores, FINE, FINE_QUERY)),
        (shortcut.evaluate(inputs(scores))["shortcut_auprc"], metrics.shortcut(scores[STAMPED], PLANTED)),
        (
            mixed_domain.evaluate(inputs(scores))["mixed_domain_auprc"],
            metrics.mixed_domain(scores[STAMPED], PLANTED),
        ),
        (
            retrieval.evaluate(inputs(scores))["mrr"],
            metrics.retrieval(scores, FACT_QUERY[:, None] == FACT)["mrr"],
        ),
        (cardinality.evaluate(inputs(scores))["cardinality_10"], metrics.cardinality(scores)),
        (sparsity.evaluate(inputs(scores))["sparsity_90"], metrics.sparsity(scores)),
        (
            stability.evaluate(inputs(scores, repeated={"members": RANDOM[1]}))["stability"],
            metrics.stability(scores, RANDOM[1]),
        ),
    ]
    for own, plain in pairs:
        assert (own.value, own.ci_low, own.ci_high) == (plain.value, plain.ci_low, plain.ci_high)


@pytest.mark.parametrize("module", [shortcut, mixed_domain])
def test_errors_name_the_metric_that_was_called(module):
    """Both metrics rank planted examples with the same functions."""
    name = module.__name__.rpartition(".")[2]
    nothing = {"shortcut": 0 * PLANTED, "domain": 0 * PLANTED}
    unaffected = {"shortcut_queries": STAMPED & False, "domain_queries": 0 * STAMPED}
    for truth, reason in (
        (nothing, "0 of 60 examples are planted"),
        (unaffected, "no test query is affected"),
    ):
        with pytest.raises(UserError, match=f"^metric {name}: {reason}"):
            module.evaluate(MetricInputs(RANDOM[0], planted=TRUTH | truth))
    for arguments in ({"planted": 0 * PLANTED}, {"planted": PLANTED, "references": Q}):
        with pytest.raises(UserError, match=f"^metric {name}: "):
            module(RANDOM[0], **arguments)
    with pytest.raises(UserError, match=r"^metric subclass: k is 61"):
        subclass(RANDOM[0], FINE, FINE_QUERY, k=61)


@pytest.mark.parametrize(("module", "name"), [(retrieval, "fact"), (mixed_domain, "domain")])
def test_a_truth_without_that_of_the_queries_is_an_error(module, name):
    truth = {name: TRUTH[name]}
    with pytest.raises(UserError, match=f"states no truth '{name}_queries'"):
        module.evaluate(MetricInputs(RANDOM[0], planted=truth))


def test_a_query_that_asks_nothing_has_no_source_among_examples_that_state_nothing():
    stated, asked = np.array([0, 0, -1, 1]), np.array([-1, 1])
    scores = np.array([[0.0, 0.0, 1.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
    found = retrieval.evaluate(MetricInputs(scores, planted={"fact": stated, "fact_queries": asked}), k=1)
    assert found["mrr"].extras["n_queries"] == 1 and found["mrr"].value == 1.0


def test_columns_that_are_equal_up_to_a_factor_tie_in_single_precision():
    row = np.linspace(0.1, 1.7, 7, dtype=np.float32)
    scores = np.outer(row, np.array([1, 3, 5, 7, 11], dtype=np.float32)).astype(np.float32)
    inputs = MetricInputs(scores, planted={"duplicate_of": np.array([-1, -1, -1, -1, 2])})
    assert duplicates.evaluate(inputs, k=1)["duplicates_recall_1"].value == pytest.approx(1 / 4)


def test_equal_seeds_pair_methods():
    first, second = (metrics.same_class(scores, Y, Y_QUERY) for scores in RANDOM[:2])
    difference = first.replicates - second.replicates
    assert difference.mean() == pytest.approx(first.value - second.value, abs=0.02)
    assert np.array_equal(first.replicates, metrics.same_class(RANDOM[0], Y, Y_QUERY).replicates)


def test_the_within_class_chance_of_subclasses_is_that_of_knowing_the_labels():
    knows_labels = (Y_QUERY[:, None] == Y) * 1.0
    found = subclass.evaluate(inputs(knows_labels))["subclass_10"]
    assert found.value == pytest.approx(found.extras["chance_within_class"]) == pytest.approx(0.5)


def test_agreement_reads_one_query_at_a_time():
    asked = []

    def rows(query: int) -> np.ndarray:
        asked.append(query)
        return RANDOM[0][query]

    (pair,) = method_agreement.evaluate({"a": rows, "b": RANDOM[1].__getitem__}, 3, resamples=10)
    assert asked == [0, 1, 2]
    assert (pair.method_a, pair.method_b) == ("a", "b")
