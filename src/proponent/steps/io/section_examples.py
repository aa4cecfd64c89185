"""Examples that the report shows of a setting: its gallery, suspicious labels, proponents everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proponent.config.specifications.step_inputs import ReportSectionInputs
from proponent.config.specifications.table_specs import ReportSectionSpec
from proponent.explanations.carried_score import SHARES, carrying_examples
from proponent.explanations.strongest_examples import proponents_everywhere
from proponent.publish.ranking import Ranking, reason, value
from proponent.publish.report.gallery import (
    METHODS,
    Scores,
    add_examples,
    choose_queries,
    find_suspicious,
    make_gallery,
)
from proponent.publish.report.heat_maps import ExplainedPairs, add_heat
from proponent.publish.report.section import Everywhere, Gallery, Suspicious
from proponent.publish.report.shown_examples import Examples
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json

GALLERY_BYTES, HEAT_BYTES = 350_000, 200_000
"""Characters of examples of a setting, and of heat maps: with thirty settings the page stays below 20 MB."""
EVERYWHERE, COUNTED = 12, 10
"""Examples that are proponents of the most queries, and the strongest proponents of a query that count."""
_SPOKEN = ("spoken-intents", "spoken-captions")
"""Cards of datasets whose images are log-mel spectrograms (:mod:`proponent.settings.datasets.spectrograms`)."""
_NOISE = "mislabel_auc"

SectionJob = Job[ReportSectionSpec, ReportSectionInputs]


@dataclass(frozen=True)
class ShownParts:
    """Parts of a section that show examples; None where the setting has nothing to show."""

    gallery: Gallery | None = None
    """It also has the examples of the other parts."""
    suspicious: Suspicious | None = None
    everywhere: Everywhere | None = None


def shown_examples(
    job: SectionJob,
    ranking: Ranking,
    described: Mapping[str, Any],
    clusters: Sequence[Mapping[str, Any]],
) -> ShownParts:
    """Return the examples that the report shows of a setting.

    Args:
        job: job of the section.
        ranking: leaderboard of the setting.
        described: description of the dataset.
        clusters: groups of clusters, whose examples are shown as well.
    """
    data = load_numpy_data(job)
    names = job.read(job.inputs.data).with_name("token_names.json")
    tokens = read_json(names) if names.exists() else None
    known = (described["class_names"], described["image_shape"], tokens, described["card"] in _SPOKEN)
    train = Examples(data.x_train, data.y_train, *known)
    queries = Examples(data.x_query, data.y_query, *known)
    methods = [document["method"] for document in ranking.ordered() if not reason(document)]
    if not methods:
        return ShownParts()
    rows = choose_queries(data.y_query, described["n_tune"])
    gallery = make_gallery(train, queries, rows, _scores(job, methods[:METHODS]), GALLERY_BYTES)
    if gallery is None:
        return ShownParts()
    suspicious = _suspicious(job, ranking, methods) if train.has_classes else None
    ((_, scores),) = _scores(job, methods[:1])
    everywhere = _everywhere(methods[0], scores[described["n_tune"] :])
    in_clusters = [row for group in clusters for cluster in group["clusters"] for row in cluster["rows"]]
    for more in (suspicious.rows if suspicious else (), everywhere.rows, in_clusters):
        gallery = add_examples(gallery, train, more)
    gallery = add_heat(gallery, train, queries, _explained_pairs(job, gallery.methods), HEAT_BYTES)
    return ShownParts(gallery, suspicious, everywhere)


def _explained_pairs(job: SectionJob, methods: Sequence[str]) -> Iterator[tuple[str, ExplainedPairs]]:
    """Yield the contributions of the methods that have them."""
    if job.inputs.explanations:
        arrays = load_arrays(job.read(job.inputs.explanations))
        for method in methods:
            if f"{method}/pairs" in arrays:
                parts = (arrays[f"{method}/{name}"] for name in ("pairs", "query", "train"))
                yield method, ExplainedPairs(*parts)


def _scores(job: SectionJob, methods: Sequence[str]) -> Iterator[tuple[str, Scores]]:
    for method in methods:
        yield method, load_arrays(job.read(job.inputs.scores[method]))["scores"]


def _suspicious(job: SectionJob, ranking: Ranking, methods: Sequence[str]) -> Suspicious | None:
    """Return suspicious labels, by the method that finds flipped labels best, or by the best one with a self-influence."""
    noise = job.root / f"results/{job.spec.setting}/data/noisy_labels.safetensors"
    flipped = load_arrays(noise)["noisy_labels"] if noise.exists() else None
    by_noise = sorted(
        (document for document in ranking.documents if _NOISE in document["metrics"]),
        key=lambda document: (-value(document, _NOISE), document["method"]),
    )
    ordered = [document["method"] for document in by_noise] or methods
    for method in ordered:
        arrays = load_arrays(job.read(job.inputs.scores[method]))
        own = arrays.get("self_influence")
        if by_noise or own is not None:
            return find_suspicious(method, arrays["scores"], own, flipped)
    return None


def _everywhere(method: str, scores: Scores) -> Everywhere:
    """Return the training examples that are proponents of the most test queries, and how few examples carry a score.

    Args:
        method: name of the method.
        scores: (n_query, n_train) scores of the test queries.
    """
    found = proponents_everywhere(scores, COUNTED)
    rows = [int(row) for row in found.order()[:EVERYWHERE] if found.counts[row]]
    carried = np.median(carrying_examples(scores), axis=0)
    shares = ", ".join(f"{count:,.0f} for {share:.0%}" for count, share in zip(carried, SHARES, strict=True))
    return Everywhere(
        method,
        rows,
        {str(row): int(found.counts[row]) for row in rows},
        found.queries,
        f"Examples that carry the absolute score of a test query (median): {shares}, of {scores.shape[1]:,}.",
    )
