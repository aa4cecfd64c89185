"""``proponent explain-gallery``: which features make the scores of the gallery's pairs, and clusters of training examples.

The pairs are those of the report's gallery: the strongest examples of a dozen queries by each method whose scores are
differentiable in closed form. The number of operations of a method is bounded, so that a large model has fewer queries
explained, or none.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from proponent.config.specifications.step_inputs import ExplainInputs, paths_of
from proponent.config.specifications.table_specs import ExplainSpec
from proponent.errors import UserError, one_line
from proponent.explained_models import ExplainedModels
from proponent.explainer import Explainer
from proponent.explanations.feature_attribution import FIRST_STEPS
from proponent.finished_results import Results
from proponent.notes import Note
from proponent.pair_explainer import PairExplainer
from proponent.publish.examples import is_music, token_input
from proponent.publish.figures.proponents_figure import strongest
from proponent.publish.png_pictures import summed_channels
from proponent.publish.report.gallery import choose_queries
from proponent.rows import named_tensors
from proponent.steps.io.job import Job
from proponent.torch_failures import FAILURES
from proponent.trained.forward_cost import forward_operations

PAIRS = 3
"""Proponents, and opponents, of each query that are explained."""
MODELS = 1
"""Models by which they are explained; the score of a method may be a mean over more."""
CLUSTERS, CLUSTERS_OF_CLASS, EXEMPLARS = 6, 4, 6
"""Clusters of all examples and of one class, and the examples that show each of them."""
DIVIDED = 2000
"""Examples that are divided into clusters; from more, so many are drawn."""
_DIRECTIONS: tuple[Literal["gradients", "representations"], ...] = ("gradients", "representations")
_OPERATIONS = 3e12
"""Operations of forward and backward passes per method: about a minute on one CPU core."""
_PASSES_PER_STEP, _PASSES_PER_EXAMPLE = 9, 6
"""Forward passes that cost as much as one step of integrated gradients of a derivative, and as TRAK's two gradients."""
_LARGEST = 48
"""Pixels of the longer side of a heat map; those of larger images are added up in blocks."""


@dataclass(frozen=True)
class _Heat:
    """Contributions of pairs, (n, ...) each; see :class:`proponent.publish.report.heat_maps.ExplainedPairs`."""

    pairs: list[tuple[int, int]]
    query: list[NDArray[np.float32]]
    train: list[NDArray[np.float32]]


def run(job: Job[ExplainSpec, ExplainInputs]) -> None:
    """Write contributions by method as ``results/S/report/explanations.safetensors``, and clusters and reasons as JSON."""
    spec = job.spec
    for path in paths_of(job.inputs):
        job.read(path)
    results = Results(job.root / f"results/{spec.setting}")
    arrays: dict[str, NDArray[Any]] = {}
    reasons: dict[str, str] = {}
    clusters: list[dict[str, Any]] = []
    for method in spec.methods:
        try:
            explainer = Explainer(
                results.attributor(method, device=job.device, memory_mib=spec.memory_mib, cache=False)
            )
            if not clusters:
                clusters = _clusters(explainer, results)
            heat = _explained(explainer, results, method)
        except (UserError, *FAILURES) as error:
            reasons[method] = one_line(error)
            continue
        arrays |= {
            f"{method}/pairs": np.array(heat.pairs, dtype=np.int64).reshape(-1, 2),
            f"{method}/query": np.stack(heat.query),
            f"{method}/train": np.stack(heat.train),
        }
    job.write_arrays(job.artefact, arrays or {"none": np.zeros(1, dtype=np.float32)})
    described = {"reasons": reasons, "models": MODELS, "clusters": clusters}
    job.write_json(str(PurePosixPath(job.artefact).with_suffix(".json")), described)
    job.details = {"reasons": reasons}


def _explained(explainer: Explainer, results: Results, method: str) -> _Heat:
    """Return the contributions of the pairs of one method.

    Raises:
        UserError: the pair score has no closed form, inputs are neither pictures nor texts, or the model is too large.
    """
    shape = _shape_of_maps(results)
    models = ExplainedModels(explainer.attributor, MODELS)
    pairs_of = PairExplainer(models, most_steps=FIRST_STEPS)
    scores = results.scores(method)
    _, labels = results.queries()
    rows = choose_queries(labels.numpy(), results.n_tune)
    affordable = _affordable(models, pairs_of.passes(FIRST_STEPS * _PASSES_PER_STEP, _PASSES_PER_EXAMPLE))
    if affordable < 1:
        raise UserError(
            f"heat maps of one query would take more than {_OPERATIONS:.0e} operations; "
            "proponent query --features makes those of a query of your choice"
        )
    found = _Heat([], [], [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)  # how complete the contributions are, for each pair
        for row in rows[:affordable]:
            asked = results.queries(row)
            for example in (*strongest(scores[row], PAIRS)[0], *strongest(scores[row], PAIRS)[1]):
                pair = pairs_of.explain(asked, 0, example, "integrated-gradients")
                found.pairs.append((row, example))
                found.query.append(_as_map(pair.query.values, shape))
                found.train.append(_as_map(pair.train.values, shape))
    if not found.pairs:
        raise UserError("no query has a proponent or an opponent")
    return found


def _shape_of_maps(results: Results) -> tuple[int, ...]:
    """Return the shape of an image, or (length,) for texts.

    Raises:
        UserError: inputs are neither pictures nor texts.
    """
    if results.image_shape is not None:
        return results.image_shape
    names = results.token_names
    tensors = {name: value[:1].numpy() for name, value in named_tensors(results.rows()[0]).items()}
    tokens = None if names is None else token_input(tensors)
    if names is None or tokens is None or is_music(names):
        raise UserError("heat maps are made of pictures, and of texts whose tokens have names")
    return (int(tensors[tokens].shape[-1]),)


def _affordable(models: ExplainedModels, passes: int) -> int:
    """Return the number of queries whose pairs can be explained within the limit of operations.

    Args:
        models: models that explain the method.
        passes: forward passes of one example that a pair costs.
    """
    module, x = models.first.module, models.problem.x
    operations = max(1, forward_operations(module, x[:1])) * passes * 2 * PAIRS
    return math.floor(_OPERATIONS / operations)


def _as_map(values: Tensor, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return contributions as a map of at most ``_LARGEST`` pixels, or of one value per token.

    Raises:
        UserError: features are neither the pixels nor the tokens.
    """
    own = values.detach().numpy(force=True)
    if own.size != math.prod(shape):
        raise UserError(
            f"the features that were explained are {own.shape}, which are neither pixels nor tokens of the input"
        )
    if len(shape) == 1:
        return own.reshape(-1).astype(np.float32)
    pixels = summed_channels(own, shape)
    block = -(-max(pixels.shape) // _LARGEST)
    padded = np.pad(pixels, [(0, -size % block) for size in pixels.shape])
    height, width = (size // block for size in padded.shape)
    return padded.reshape(height, block, width, block).sum((1, 3)).astype(np.float32)


def _clusters(explainer: Explainer, results: Results) -> list[dict[str, Any]]:
    """Return clusters of all examples and of the most frequent class, by gradients and by representations."""
    classes = explainer.models.classes
    parts: list[tuple[str, int | None, int]] = [("all training examples", None, CLUSTERS)]
    if classes is not None:
        frequent = int(np.bincount(classes).argmax())
        name = results.class_names[frequent] if results.class_names else str(frequent)
        parts.append((f"examples of the class {name}", frequent, CLUSTERS_OF_CLASS))
    found = []
    for which, label, count in parts:
        for by in _DIRECTIONS:
            try:
                clusters = explainer.clusters(count, by=by, label=label, exemplars=EXEMPLARS, most=DIVIDED)
            except (UserError, *FAILURES):  # too few examples, or a model without representations
                continue
            described = [
                {"name": f"{size} examples, mean cosine {cohesion:.2f}", "rows": list(rows)}
                for size, cohesion, rows in zip(
                    clusters.sizes, clusters.cohesion, clusters.exemplars, strict=True
                )
            ]
            found.append({"name": f"{which}, by the directions of their {by}", "clusters": described})
    return found
