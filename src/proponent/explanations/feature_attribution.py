"""XDA: the features of an example that make its pair score (Yolcu et al. 2025, "DualXDA"), by the algorithms of captum.

The score of query q and training example i is a function of the features (pixels, numbers, embeddings of tokens) of one of
the two while the other one is fixed. Algorithms:

- ``integrated-gradients`` (Sundararajan et al. 2017): the mean gradient between a baseline and the example, times the
  difference. Values add up to the difference of the scores (completeness) where the score is continuous.
- ``input-x-gradient``: the gradient at the example, times the difference to the baseline.
- ``shapley`` (Castro et al. 2009): the mean change of the score when a feature joins in a random order. Values add up to the
  difference of the scores whatever the score is, also for gradients of ReLU networks, which jump.
- ``lrp`` (Bach et al. 2015): layer-wise relevance propagation through a network that ends in the score.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.explanations.pair_scores import Score
from proponent.notes import Note

Algorithm = Literal["integrated-gradients", "input-x-gradient", "shapley", "lrp"]
ALGORITHMS: tuple[Algorithm, ...] = ("integrated-gradients", "input-x-gradient", "shapley", "lrp")
TOLERANCE = 0.01
"""Largest gap of completeness, relative to the difference of the scores, at which no more steps are taken."""
FIRST_STEPS, MOST_STEPS = 32, 1024
"""Numbers of steps of integrated gradients."""
_ROWS = 64
"""Rows of features per pass."""
_SHAPLEY_ORDERS = 25


@dataclass(frozen=True)
class FeatureAttribution:
    """Contributions of the features of one example to a pair score.

    Attributes:
        values: contributions in the unit of the score, in the shape of the features; summed over the last axis where this
            is that of an embedding.
        score: score of the pair.
        baseline_score: score with the baseline in place of the example.
    """

    values: Tensor
    score: float
    baseline_score: float

    @property
    def gap(self) -> float:
        """Distance of the sum of all values from the difference of both scores, relative to this difference."""
        difference = self.score - self.baseline_score
        missing = abs(float(self.values.double().sum()) - difference)
        return missing / abs(difference) if difference else missing


def attribute_features(
    score: Score,
    features: Tensor,
    baseline: Tensor,
    algorithm: Algorithm = "integrated-gradients",
    *,
    embedded: bool = False,
    network: Callable[[], nn.Module] | None = None,
    seed: int = 0,
    most_steps: int = MOST_STEPS,
) -> FeatureAttribution:
    """Return the contribution of every feature of an example to a pair score.

    Args:
        score: differentiable function from features (m, ...) to scores (m,).
        features: (1, ...) features of the example.
        baseline: (1, ...) features that stand for no information, such as zeros.
        algorithm: algorithm of captum.
        embedded: whether the last axis of the features is that of an embedding, over which values are summed.
        network: function that returns the score as a module of plain layers, which ``lrp`` needs.
        seed: seed of the random orders of ``shapley``.
        most_steps: largest number of steps of ``integrated-gradients``, which are doubled from 32 on until the gap of
            completeness is small enough.

    Raises:
        UserError: captum is not installed, or the algorithm does not apply to the score.
    """
    captum = _captum()
    with torch.no_grad():
        own, base = (float(score(rows)[0]) for rows in (features, baseline))

    def found(values: Tensor) -> FeatureAttribution:
        row = values[0].detach()
        return FeatureAttribution(row.sum(-1) if embedded else row, own, base)

    if algorithm == "integrated-gradients":
        method, steps = captum.IntegratedGradients(score), FIRST_STEPS
        while True:
            result = found(
                method.attribute(
                    features,
                    baseline,
                    n_steps=steps,
                    method="gausslegendre",
                    internal_batch_size=_ROWS,
                )
            )
            if result.gap <= TOLERANCE:
                return result
            if 2 * steps > most_steps:
                _note_gap(result.gap)
                return result
            steps *= 2
    if algorithm == "input-x-gradient":
        slope = captum.Saliency(score).attribute(features.clone().requires_grad_(), abs=False)
        return found(slope * (features - baseline))
    if algorithm == "shapley":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            values = captum.ShapleyValueSampling(score).attribute(
                features,
                baseline,
                feature_mask=_groups(features, embedded=embedded),
                n_samples=_SHAPLEY_ORDERS,
                perturbations_per_eval=_ROWS,
            )
        row = values[0].detach()
        # captum gives each feature the value of its group
        return FeatureAttribution(row[..., 0] if embedded else row, own, base)
    if network is None:
        raise UserError(
            "lrp needs a score of representations (dualda, rps, similarity-dot) and inputs that are numbers; choose "
            "integrated-gradients"
        )
    return found(_relevance(captum, network(), features))


def _note_gap(gap: float) -> None:
    warnings.warn(
        f"contributions add up to the score except for {gap:.1%}: the score jumps on the way, as gradients of ReLU networks "
        "do; shapley is complete for any score",
        Note,
        stacklevel=3,
    )


def _groups(features: Tensor, *, embedded: bool) -> Tensor:
    """Return the number of the feature of each element, (1, ...); the elements of an embedding are one feature."""
    if not embedded:
        return torch.arange(features.numel(), device=features.device).view_as(features)
    tokens = features[..., 0]
    return torch.arange(tokens.numel(), device=features.device).view_as(tokens)[..., None].expand_as(features)


def _relevance(captum: Any, network: nn.Module, features: Tensor) -> Tensor:
    from captum.attr._utils.lrp_rules import EpsilonRule

    for layer in network.modules():
        if isinstance(layer, (nn.Flatten, nn.Identity)):
            layer.rule = EpsilonRule()  # captum has none for layers that move values only
    try:
        values: Tensor = captum.LRP(network).attribute(features.clone().requires_grad_())
    except (
        TypeError,
        AssertionError,
        RuntimeError,
        AttributeError,
    ) as error:  # what captum raises for other layers
        raise UserError(
            f"lrp: captum has no rule for this network ({' '.join(str(error).split())[:200]}); choose integrated-gradients"
        ) from error
    return values


def _captum() -> Any:
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise UserError(
            "features are attributed by captum, which is not installed; install it with pip install 'proponent[explain]'"
        ) from error
    return captum.attr
