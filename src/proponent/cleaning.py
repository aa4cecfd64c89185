"""Suspicious training examples of a finished setting, with the evidence for each: ``proponent clean``.

Examples are ordered as the metric ``mislabel`` orders them: by self-influence where the method has one that differs between
examples, otherwise by minus the mean score over the test queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.finished_results import Results
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.mislabel import suspicion
from proponent.predictions_along_training import average_probabilities, given_rows_of
from proponent.rows import named_tensors
from proponent.store.files import read_json

SHOWN = 5
"""Number of proponents, of opponents and of queries per example."""
_BY = ("mislabel_found_10", "mislabel_auc")
"""Metrics by which a method is chosen, the first one first."""


@dataclass(frozen=True)
class Suspect:
    """A training example and the evidence about its label.

    Attributes:
        example: row of the example.
        suspicion: value by which examples are ordered; large = suspicious.
        label: class of the example in the data.
        predicted: class with the largest mean probability along training.
        p_label: mean probability of the label along training.
        p_predicted: mean probability of the predicted class.
        other_labels: rows of examples with the same input and another label.
        harmed: test queries (row among all queries) whose targets the example lowers most, strongest first.
        proponents: rows of the examples that raise the target of this one most; empty where it was not asked for.
        opponents: rows of the examples that lower the target of this one most.
        cleanlab_rank: place in the order of cleanlab, from 1; None without cleanlab.
    """

    example: int
    suspicion: float
    label: int
    predicted: int
    p_label: float
    p_predicted: float
    other_labels: list[int] = field(default_factory=list)
    harmed: list[int] = field(default_factory=list)
    proponents: list[int] = field(default_factory=list)
    opponents: list[int] = field(default_factory=list)
    cleanlab_rank: int | None = None


@dataclass(frozen=True)
class Suspects:
    """All training examples of a setting, the most suspicious first.

    Attributes:
        setting: name of the setting.
        method: method by which they are ordered.
        because: reason for the choice of the method; empty if it was given.
        ordered_by: ``self-influence`` or ``mean score``.
        entries: one entry per example; only the first ``detailed`` have proponents and opponents.
        detailed: number of entries with proponents and opponents.
        without_details: reason why no entry has them; empty if the first ones do.
    """

    setting: str
    method: str
    because: str
    ordered_by: str
    entries: Sequence[Suspect]
    detailed: int
    without_details: str = ""


def find_suspects(root: Path, setting: str, method: str | None = None, top: int = 50) -> Suspects:
    """Return the training examples of a finished setting, the most suspicious first.

    Args:
        root: the checkout.
        setting: name of a setting with results.
        method: method whose scores order the examples; by default the one that found most flipped labels in the setting
            itself or in its twin ``SETTING-noisy``.
        top: number of examples for which proponents and opponents are computed.

    Raises:
        UserError: there are no results, the method has no scores, or examples do not have one class each.
    """
    if not (root / f"results/{setting}/data/description.json").is_file():
        known = [path.stem for path in (root / "configs/settings").glob("*.yaml")]
        hint = (
            f"; run snakemake results/summaries/{setting}.json"
            if setting in known
            else nearest(setting, known)
        )
        raise UserError(f"results/{setting}: there are no results{hint}")
    results = Results(root / "results" / setting)
    chosen, because = (method, "") if method else choose_method(root, results)
    scores = results.scores(chosen)[results.n_tune :].astype(np.float64)
    x, y = results.train
    labels = np.asarray(y).reshape(len(y), -1)[:, 0].astype(int)
    probabilities = average_probabilities(root, setting, results)
    badness, ordered_by = suspicion(MetricInputs(scores, _self_influence(results, chosen)), len(labels))
    own = probabilities[np.arange(len(labels)), labels]
    order = np.lexsort((own, -badness))
    detailed = order[:top]
    strongest, reason = _strongest(results, chosen, detailed)
    ranks = cleanlab_ranks(labels, probabilities)
    equal = equal_inputs(x)
    entries = [
        Suspect(
            example=int(row),
            suspicion=float(badness[row]),
            label=int(labels[row]),
            predicted=int(probabilities[row].argmax()),
            p_label=float(own[row]),
            p_predicted=float(probabilities[row].max()),
            other_labels=[other for other in equal.get(int(row), ()) if labels[other] != labels[row]],
            harmed=[results.n_tune + int(query) for query in lowest(scores[:, row])],
            proponents=strongest.get(int(row), ([], []))[0],
            opponents=strongest.get(int(row), ([], []))[1],
            cleanlab_rank=None if ranks is None else int(ranks[row]),
        )
        for row in order
    ]
    return Suspects(setting, chosen, because, ordered_by, entries, 0 if reason else len(detailed), reason)


def choose_method(root: Path, results: Results) -> tuple[str, str]:
    """Return the method that found most flipped labels in the setting or its noisy twin, and the reason for the choice.

    Without a twin, it is the first method with self-influence, or the first one.

    Raises:
        UserError: no method has scores.
    """
    available = results.methods
    if not available:
        name = results.setting
        raise UserError(f"results/{name}: no method has scores; run snakemake results/summaries/{name}.json")
    for setting in (results.setting, f"{results.setting}-noisy"):
        path = root / f"results/{setting}/leaderboard/ranking.json"
        documents = read_json(path)["documents"] if path.exists() else []
        for metric in _BY:
            values = {
                document["method"]: document["metrics"][metric]["value"]
                for document in documents
                if document["method"] in available and metric in document["metrics"]
            }
            if values:
                best = max(values, key=lambda name: (values[name], name))
                others = f"{len(values)} method{'s' * (len(values) > 1)}"
                return best, f"best {metric} of {others} on {setting}: {values[best]:.3f}"
    twin = f"{results.setting}-noisy"
    for name in available:
        if _self_influence(results, name) is not None:
            return name, f"the first method with self-influence, since there are no results of {twin}"
    return available[0], f"the first method with scores, since there are no results of {twin}"


def lines_on_gain(root: Path, setting: str, method: str) -> list[str]:
    """Return what training without the most suspicious examples changes, one line per share, or how to find it out.

    Args:
        root: the checkout.
        setting: name of a setting with results.
        method: method that orders the examples.
    """
    path = root / f"results/{setting}/metrics/{method}.json"
    metrics = read_json(path)["metrics"] if path.exists() else {}
    found = {name: entry for name, entry in metrics.items() if name.startswith("cleaning_gain_")}
    if not found:
        return [
            "To see what training without the first examples changes: snakemake --config "
            f"'settings=[{setting}]' 'methods=[{method}]' 'metrics=[cleaning-gain]'"
        ]
    return [
        f"without the first {name.rpartition('_')[2]} % ({entry['n_removed']} examples): {entry['utility']} "
        f"{entry['before']:.3f} → {entry['after']:.3f}, a gain of {entry['value']:+.3f} "
        f"[{entry['ci_low']:+.3f}, {entry['ci_high']:+.3f}]; without as many random examples {entry['random']:+.3f}"
        for name, entry in sorted(found.items(), key=lambda pair: pair[1]["n_removed"])
    ]


def lowest(values: NDArray[np.floating], count: int = SHOWN) -> list[int]:
    """Return the places of the most negative of ``values`` (n,), the most negative first; values from 0 up are left out."""
    order = np.argsort(values, kind="stable")[:count]
    return [int(place) for place in order if values[place] < 0]


def equal_inputs(x: Any) -> dict[int, list[int]]:
    """Return the other examples with the same input, by row, for the examples that have such.

    Args:
        x: (n, …) inputs: a tensor, or a tuple or dictionary of tensors.
    """
    tensors = list(named_tensors(given_rows_of(x)).values())
    groups: dict[bytes, list[int]] = {}
    for row in range(len(tensors[0])):
        digest = hashlib.blake2b(digest_size=16)
        for tensor in tensors:
            digest.update(np.ascontiguousarray(tensor[row]).tobytes())
        groups.setdefault(digest.digest(), []).append(row)
    return {row: [o for o in rows if o != row] for rows in groups.values() if len(rows) > 1 for row in rows}


def cleanlab_ranks(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> NDArray[np.integer] | None:
    """Return the place of each example in the order of cleanlab's label quality, worst first, from 1; None without cleanlab.

    Args:
        labels: (n,) classes.
        probabilities: (n, n_classes) predictions.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ModuleNotFoundError:
        return None
    quality = get_label_quality_scores(labels, probabilities)
    ranks = np.empty(len(labels), dtype=int)
    ranks[np.argsort(quality, kind="stable")] = np.arange(1, len(labels) + 1)
    return ranks


def _self_influence(results: Results, method: str) -> NDArray[np.float64] | None:
    try:
        return results.self_influence(method).astype(np.float64)
    except UserError:
        return None


def _strongest(
    results: Results, method: str, rows: NDArray[np.integer]
) -> tuple[dict[int, tuple[list[int], list[int]]], str]:
    """Return the proponents and opponents of some training examples by row, and why there are none.

    An example is not among its own proponents.
    """
    x, y = results.train
    try:
        attributor = results.attributor(method)
        scores = attributor.attribute((take(x, rows), y[rows])).numpy().astype(np.float64)
    except UserError as error:
        return {}, str(error)
    scores[np.arange(len(rows)), rows] = 0.0
    found = {}
    for row, values in zip(rows, scores, strict=True):
        found[int(row)] = (lowest(-values), lowest(values))
    return found, ""


def take(x: Any, rows: NDArray[np.integer]) -> Any:
    """Return some rows of inputs, in the same form."""
    if isinstance(x, Mapping):
        return {name: value[rows] for name, value in x.items()}
    return tuple(value[rows] for value in x) if isinstance(x, tuple) else x[rows]
