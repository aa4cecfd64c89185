"""One method, ready to score: its functions, and how their results are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.attribution.averaging import Candidate, Needs, Outcome, average
from proponent.attribution.member_mean import MemberMean
from proponent.attribution.self_influence_params import accepts, self_influence_params
from proponent.errors import UserError
from proponent.metrics.estimate import Array
from proponent.metrics.lds import predict


@dataclass(frozen=True)
class Scorer:
    """Scores candidates with the functions of one method.

    Attributes:
        module: the method's module, with ``finish``, ``group_scores``, ``self_influence`` and ``SELF_INFLUENCE`` where it
            has them.
        attribute: the function that scores one member of the ensemble.
        source: the file that configures the method, the beginning of every error.
        checkpoints: values of the hyper-parameter ``checkpoint`` to average over; empty if the candidates decide.
        normalised: give each member the same weight.
        groups: the method predicts groups of examples itself, because their effect is not the sum of their scores.
    """

    module: Any
    attribute: Callable[..., Any]
    source: str = ""
    checkpoints: Sequence[float] = ()
    normalised: bool = False
    groups: bool = False

    def score(
        self,
        candidates: Sequence[Candidate],
        members: Iterable[Needs],
        finish_needs: Mapping[str, Any] | None = None,
    ) -> list[Outcome]:
        """Return the results of every candidate by name, or the reason why the method refused it.

        Args:
            candidates: hyper-parameters to try.
            members: the arguments of one member at a time.
            finish_needs: further arguments of the method's ``finish``, which turns mean scores into final ones; None
                where the method has no such function.
        """
        finish = None if finish_needs is None else partial(self.module.finish, **finish_needs)
        means = average(
            self.attribute,
            candidates,
            members,
            checkpoints=self.checkpoints,
            normalised=self.normalised,
            source=self.source,
        )
        return [_results(mean, finish) for mean in means]

    def predict(self, results: Mapping[str, Any], masks: NDArray[np.bool_]) -> Array:
        """Return the predicted targets of models trained on subsets, (n_masks, n_query) float64.

        Args:
            results: those of one candidate.
            masks: (n_masks, n_train), True = the example is in the subset.
        """
        if not self.groups:
            return predict(np.asarray(results["scores"]), masks)
        import torch

        predicted: Array = self.module.group_scores(results, torch.from_numpy(masks)).double().numpy()
        return predicted

    def self_influence(self, configured: Mapping[str, Any], members: Iterable[Needs]) -> Any:
        """Return the self-influence of every training example, (n_train,).

        Args:
            configured: hyper-parameters that the method's YAML sets.
            members: the arguments of one member at a time.

        Raises:
            UserError: the method refuses, or a hyper-parameter has no value.
        """
        function = self.module.self_influence
        constants = getattr(self.module, "SELF_INFLUENCE", {})
        params = self_influence_params(self.attribute, function, configured, constants, self.source)
        (mean,) = average(
            function,
            [params],
            members,
            checkpoints=self.checkpoints if accepts(function, "checkpoint") else (),
            normalised=self.normalised,
            source=self.source,
        )
        return accepted(_results(mean))["scores"]


def accepted(outcome: Outcome) -> dict[str, Any]:
    """Return the results of a candidate.

    Raises:
        UserError: the method refused the candidate.
    """
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def _results(mean: MemberMean | UserError, finish: Callable[[Any], Any] | None = None) -> Outcome:
    if isinstance(mean, UserError):
        return mean
    scores = mean.scores()
    return {"scores": finish(scores) if finish else scores, **mean.extras()}
