"""The choice of hyper-parameters: every candidate is scored once, and the one with the best LDS is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proponent.attribution.averaging import Candidate, Outcome, without_damping
from proponent.errors import UserError
from proponent.metrics.estimate import Array
from proponent.metrics.lds import quick
from proponent.metrics.metric_inputs import Retrainings
from proponent.metrics.usable_retrainings import usable_retrainings


@dataclass(frozen=True)
class Trial:
    """One candidate and its LDS, or the reason why it has none."""

    params: Candidate
    lds: float | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of the tuning record on disk."""
        entry: dict[str, Any] = {"params": self.params, "lds": self.lds}
        return entry if self.reason is None else {**entry, "why": self.reason}


@dataclass(frozen=True)
class TuningRecord:
    """All candidates that were compared, and the hyper-parameters that were chosen."""

    trials: tuple[Trial, ...]
    chosen: Candidate

    def as_dict(self) -> dict[str, Any]:
        """Return the part of the record on disk that depends on the candidates alone."""
        return {
            "metric": "lds on tune queries and tune masks",
            "candidates": [trial.as_dict() for trial in self.trials],
            "chosen": self.chosen,
        }


def choose(
    candidates: Sequence[Candidate],
    score: Callable[[Sequence[Candidate]], Sequence[Outcome]],
    predict: Callable[[Mapping[str, Any], Any], Array],
    truth: Retrainings,
    source: str = "",
) -> TuningRecord:
    """Return the candidate with the best LDS, the first of them where several are equal.

    Args:
        candidates: hyper-parameters to compare. They are tried sorted so that those that differ only in ``damping``
            follow each other and share one decomposition.
        score: from candidates to the results of each on the tune queries, or the reason why the method refused it.
        predict: from the results of a candidate and masks (m, n_train) to predictions (m, n_query).
        truth: retrainings on tune masks; their targets are those of the tune queries.
        source: the file that configures the method, the beginning of an error.

    Raises:
        UserError: every candidate was refused (the first reason is raised), or none has finite scores.
    """
    usable = usable_retrainings(truth.targets, "tune")
    masks = truth.masks[usable.subsets]
    ordered = sorted(candidates, key=without_damping)
    trials: list[Trial] = []
    refusals: list[UserError] = []
    reached: list[tuple[float, Candidate]] = []
    for candidate, outcome in zip(ordered, score(ordered), strict=True):
        if isinstance(outcome, UserError):
            refusals.append(outcome)
            trials.append(Trial(candidate, None, str(outcome)))
        elif not np.isfinite(np.asarray(outcome["scores"])).all():
            trials.append(Trial(candidate, None, "scores are not finite"))
        else:
            lds = round(quick(predict(outcome, masks), usable), 6)
            trials.append(Trial(candidate, lds))
            reached.append((lds, candidate))
    if len(refusals) == len(ordered):
        raise refusals[0]
    if not reached:
        raise UserError(f"{source}: no candidate of tune.grid gives finite scores; change tune.grid")
    _, best = max(reached, key=lambda pair: pair[0])
    return TuningRecord(tuple(trials), dict(best))
