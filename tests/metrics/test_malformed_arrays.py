"""Malformed arguments of every public metric: one line that names the argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from proponent import metrics
from proponent.errors import UserError

N, Q, SUBSETS = 12, 4, 8
RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((Q, N))
MASKS = RNG.random((SUBSETS, N)) < 0.5
LEFT_OUT = np.vstack([np.ones(N), 1 - np.eye(N)])
FLAGS = np.arange(N) < 3
ORIGINALS = np.where(np.arange(N) >= 9, np.arange(N) - 9, -1)
TRUTH = {"masks": MASKS, "targets": RNG.standard_normal((SUBSETS, 2, Q))}
CLASSES = {"labels": np.arange(N) % 3, "query_labels": np.arange(Q) % 3}
OTHER = RNG.standard_normal((Q, N))

VALID: dict[str, dict[str, Any]] = {
    "cardinality": {"k": 2},
    "group_influence": {"masks": LEFT_OUT, "targets": RNG.standard_normal((1 + N, 2, Q))},
    "duplicates": {"duplicate_of": ORIGINALS, "k": 2},
    "label_randomisation": {"randomised": OTHER},
    "lds": TRUTH,
    "lds_fixed_seed": TRUTH,
    "loo": {"masks": LEFT_OUT, "targets": RNG.standard_normal((1 + N, 2, Q))},
    "mislabel": {"noisy_labels": FLAGS, "self_influence": RNG.random(N)},
    "mixed_domain": {"planted": FLAGS, "references": 2},
    "randomisation": {"randomised": OTHER},
    "retrieval": {"relevant": CLASSES["query_labels"][:, None] == CLASSES["labels"], "k": 2},
    "same_class": {**CLASSES, "k": 2},
    "shortcut": {"planted": FLAGS, "references": 2},
    "sparsity": {"percent": 90},
    "stability": {"others": OTHER},
    "subclass": {**CLASSES, "k": 2},
}
"""Arguments of each metric in addition to the scores; ``method_agreement``, which has no other ones, is tested below."""
BEFORE, AFTER = RNG.standard_normal((2, Q)), RNG.standard_normal((3, 2, Q))
RETRAINED: dict[str, dict[str, Any]] = {
    "cleaning_gain": {"before": BEFORE, "after": BEFORE + 1},
    "coreset": {"shares": np.array([0.1, 0.2, 0.5]), "chosen": AFTER, "random": AFTER - 1},
    "counterfactual": {
        "sizes": np.array([1, 2, 5]),
        "before": BEFORE,
        "after": AFTER,
        "correct_before": BEFORE < 9,
        "correct_after": AFTER > 0,
    },
    "data_support": {"smallest": np.array([1, 0, 5, 12]), "n_train": N},
    "tail_patch": {"before": BEFORE, "after": BEFORE + 1},
}
"""Arguments of the metrics that take results of retrainings and no scores."""

NOT_SCORES = {
    "one axis": SCORES[0],
    "three axes": SCORES[None],
    "one number": np.float64(1.0),
    "no queries": SCORES[:0],
    "no examples": SCORES[:, :0],
    "not a number": np.where(np.arange(N) == 5, np.nan, SCORES),
    "infinite": np.where(np.arange(N) == 5, np.inf, SCORES),
    "text": [["a"] * N] * Q,
    "rows of different lengths": [[1.0, 2.0], [1.0]],
    "a tensor with a gradient": torch.ones(Q, N, requires_grad=True),
    "nothing": None,
}
NUMBERS = {
    "k": (0, -1, 2.5, N + 1, None),
    "references": (0, -1, 2.5, Q + 1, True),
    "percent": (0, 100, -5, 250, float("nan")),
    "n_train": (0, -1, 2.5),
    "resamples": (0, -1, 2.5),
}


def without_last(values: np.ndarray) -> np.ndarray:
    return values[:-1]


def with_nan(values: np.ndarray) -> np.ndarray:
    found = values.astype(float)
    found.flat[1] = np.nan
    return found


def as_text(values: np.ndarray) -> list:
    return np.full(values.shape, "a").tolist()


def flat_scalar(values: np.ndarray) -> Any:
    return values.flat[0]


CHANGES: tuple[Callable[[np.ndarray], Any], ...] = (without_last, with_nan, as_text, flat_scalar)
DIVERGED = ("targets", "before", "after", "chosen", "random")
ALLOWED = {
    *((name, with_nan) for name in DIVERGED),
    ("labels", as_text),
    ("query_labels", as_text),
    ("smallest", without_last),
}
"""Diverged retrainings are NaN, classes may be text, and nothing else tells the number of queries of ``smallest``."""


def cases() -> Iterator[Any]:
    for name, arguments in (VALID | RETRAINED).items():
        for argument, value in arguments.items():
            if not isinstance(value, np.ndarray):
                continue
            for change in CHANGES:
                if (argument, change) not in ALLOWED:
                    changed = {**arguments, argument: change(value)}
                    yield pytest.param(name, changed, id=f"{name}-{argument}-{change.__name__}")
        for argument in ("resamples", *arguments):
            for value in NUMBERS.get(argument, ()):
                yield pytest.param(name, {**arguments, argument: value}, id=f"{name}-{argument}-{value}")


def refused(call: Callable[[], Any]) -> str:
    """Return the message of the error of a call, which is one line."""
    with pytest.raises(UserError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message and message
    return message


def call(name: str, arguments: dict[str, Any]) -> Any:
    scores = (SCORES,) if name in VALID else ()
    return getattr(metrics, name)(*scores, **{"resamples": 5, **arguments})


def test_every_public_metric_is_in_the_table():
    assert {*VALID, *RETRAINED, "method_agreement"} == set(metrics.__all__)


@pytest.mark.parametrize("name", VALID | RETRAINED)
def test_the_valid_arguments_of_the_table_are_accepted(name):
    found = call(name, (VALID | RETRAINED)[name])
    for estimate in found.values() if isinstance(found, dict) else [found]:
        assert np.isfinite([estimate.value, estimate.ci_low, estimate.ci_high]).all()


@pytest.mark.parametrize("kind", NOT_SCORES)
@pytest.mark.parametrize("name", VALID)
def test_malformed_scores_are_refused(name, kind):
    message = refused(lambda: getattr(metrics, name)(NOT_SCORES[kind], **VALID[name], resamples=5))
    assert message.startswith("scores: ")


@pytest.mark.parametrize(("name", "arguments"), list(cases()))
def test_a_malformed_argument_is_refused(name, arguments):
    refused(lambda: call(name, arguments))


@pytest.mark.parametrize("kind", NOT_SCORES)
def test_malformed_scores_of_a_method_are_refused_by_the_name_of_the_method(kind):
    message = refused(lambda: metrics.method_agreement({"a": SCORES, "b": NOT_SCORES[kind]}, resamples=5))
    assert message.startswith("scores of b: ")


@pytest.mark.parametrize(
    "scores", [SCORES, [SCORES, OTHER], {}, {"a": SCORES}, {"a": SCORES, "b": SCORES[1:]}]
)
def test_agreement_needs_named_scores_of_one_shape(scores):
    refused(lambda: metrics.method_agreement(scores, resamples=5))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("counterfactual", {"sizes": [1, 5, 2]}, "sizes: expected growing numbers above 0"),
        ("counterfactual", {"correct_after": None}, "correct_before and correct_after: give both or none"),
        ("counterfactual", {"correct_before": np.zeros((2, Q))}, "correct_before: no query is predicted"),
        (
            "counterfactual",
            {"before": BEFORE.T},
            r"after: expected the shape \(n_sizes, 4, 2\), found \(3, 2, 4\)",
        ),
        ("counterfactual", {"after": np.full((3, 2, Q), np.nan)}, "all retrainings on .* masks diverged"),
        ("coreset", {"shares": [0.1, 0.5, 1.0]}, "shares: expected growing numbers above 0 and below 1"),
        ("coreset", {"random": AFTER[..., :-1]}, "random: expected the shares and queries of chosen"),
        ("group_influence", {"masks": LEFT_OUT[::-1]}, "masks: expected a row that keeps all examples"),
        ("data_support", {"smallest": [1, 13]}, "smallest: expected one whole number from 0 to 12 per query"),
    ],
)
def test_the_message_says_what_is_expected(name, changes, reason):
    arguments = (VALID | RETRAINED)[name] | changes
    with pytest.raises(UserError, match=reason):
        call(name, arguments)


def test_an_example_is_not_a_copy_of_itself():
    own = np.where(np.arange(N) == 4, 4, -1)
    message = refused(lambda: metrics.duplicates(SCORES, own, k=2))
    assert message.startswith("duplicate_of: example 4 is named as its own original")
