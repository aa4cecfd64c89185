"""The choice of hyper-parameters, on a ground truth that is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from proponent.attribution.averaging import Candidate, Outcome
from proponent.attribution.scoring import Scorer
from proponent.attribution.tuning import TuningRecord, choose
from proponent.errors import UserError
from proponent.metrics.metric_inputs import Retrainings

N_TRAIN, N_QUERY, N_MASKS = 12, 3, 10
SOURCE = "configs/methods/picky.yaml"
TRUTH = torch.randn(N_QUERY, N_TRAIN, generator=torch.Generator().manual_seed(0))


def picky(member: int, *, noise: float = 0.0) -> Tensor:
    """Return the truth and some noise; refuse a negative one at once, and 0.1 at the second member."""
    if noise < 0 or (noise == 0.1 and member == 1):
        raise UserError(f"noise {noise} is negative")
    more = torch.randn(N_QUERY, N_TRAIN, generator=torch.Generator().manual_seed(1))
    return TRUTH + noise * more


def tuned(noises: list[float], members: int = 1, attribute=picky) -> TuningRecord:
    masks = torch.rand(N_MASKS, N_TRAIN, generator=torch.Generator().manual_seed(2)) < 0.5
    targets = masks.float() @ TRUTH.T
    scorer = Scorer(module=None, attribute=attribute, source=SOURCE)

    def score(tried: Sequence[Candidate]) -> list[Outcome]:
        return scorer.score(tried, [{"member": member} for member in range(members)])

    truth = Retrainings(masks.numpy(), targets[:, None].double().numpy())
    return choose([{"noise": noise} for noise in noises], score, scorer.predict, truth, SOURCE)


def test_the_best_candidate_is_chosen_and_every_one_is_recorded() -> None:
    record = tuned([5.0, 0.5, 0.0])
    assert record.chosen == {"noise": 0.0}
    reached = {trial.params["noise"]: trial.lds for trial in record.trials}
    assert reached[0.0] == 1.0
    assert reached[5.0] < reached[0.5] < 1.0
    written = record.as_dict()
    assert written["metric"] == "lds on tune queries and tune masks"
    assert written["chosen"] == {"noise": 0.0}
    assert {entry["params"]["noise"]: entry["lds"] for entry in written["candidates"]} == reached


@pytest.mark.parametrize(("bad", "members"), [(-1.0, 1), (0.1, 2)])
def test_a_candidate_that_is_refused_is_named_and_the_others_go_on(bad, members) -> None:
    record = tuned([bad, 5.0, 0.5], members)
    assert record.chosen == {"noise": 0.5}
    (refused,) = [entry for entry in record.as_dict()["candidates"] if entry["params"]["noise"] == bad]
    assert refused["lds"] is None
    assert f"configs/methods/picky.yaml with {{'noise': {bad}}}: noise {bad} is negative" in refused["why"]
    assert [trial.lds is None for trial in record.trials].count(True) == 1


def test_if_all_are_refused_the_first_reason_is_the_error() -> None:
    with pytest.raises(UserError, match=r"picky\.yaml with \{'noise': -1\.0\}: noise -1\.0 is negative"):
        tuned([-2.0, -1.0])


def test_scores_that_are_not_finite_are_never_chosen() -> None:
    def overflowing(member: int, *, noise: float = 0.0) -> Tensor:
        return picky(member, noise=noise) * (float("inf") if noise < 1 else 1.0)

    record = tuned([0.5, 2.0], attribute=overflowing)
    assert record.chosen == {"noise": 2.0}
    assert [trial.reason for trial in record.trials] == ["scores are not finite", None]
    with pytest.raises(UserError, match=r"picky\.yaml: no candidate of tune\.grid gives finite scores"):
        tuned([0.5, 0.25], attribute=overflowing)


def test_of_equal_candidates_the_first_in_order_is_chosen() -> None:
    record = tuned([0.0, 0.0, 1.0])
    assert record.chosen == {"noise": 0.0}
    assert [trial.lds for trial in record.trials][:2] == [1.0, 1.0]


def test_a_retraining_that_diverged_is_left_out_of_the_comparison() -> None:
    masks = np.array([[True, False], [False, True], [True, True], [False, False]])
    targets = np.array([[[1.0]], [[2.0]], [[np.nan]], [[0.0]]])
    seen: list[int] = []

    def predict(results: object, kept: np.ndarray) -> np.ndarray:
        seen.append(len(kept))
        return kept @ np.array([[1.0], [2.0]])

    record = choose([{}], lambda tried: [{"scores": np.ones((1, 2))}], predict, Retrainings(masks, targets))
    assert seen == [3]
    assert record.trials[0].lds == 1.0
