"""The choice of hyper-parameters by the attribution step, on a ground truth that is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.steps import attribute as step

N_TRAIN, N_QUERY, N_MASKS = 12, 3, 10


class Job:
    """What the step asks of a job, in memory."""

    def __init__(self, members: int = 1) -> None:
        self.spec = {
            "setting": "mine",
            "method": "picky",
            "queries": {"tune": N_QUERY},
            "tune_members": members,
            "groups": False,
            "combine": "mean",
            "finish_needs": [],
        }
        self.written: dict[str, dict] = {}

    def input(self, ending: str) -> str:
        assert ending == "/ground_truth/tune.safetensors", "and no other retrainings"
        return ending

    def read(self, path: str) -> str:
        return path

    def seconds(self) -> float:
        return 1.0

    def write_json(self, path: str, content: dict) -> None:
        self.written[path] = content


TRUTH = torch.randn(N_QUERY, N_TRAIN, generator=torch.Generator().manual_seed(0))


def picky(member: int, *, noise: float = 0.0) -> Tensor:
    """Return the truth and some noise, but refuse a negative one, at once or by a later member."""
    if noise < 0 or (noise == 0.1 and member == 1):
        raise UserError(f"noise {noise} is negative")
    more = torch.randn(N_QUERY, N_TRAIN, generator=torch.Generator().manual_seed(1))
    return TRUTH + noise * more


def tuned(monkeypatch: pytest.MonkeyPatch, noises: list[float], members: int = 1) -> tuple[dict, dict]:
    masks = torch.rand(N_MASKS, N_TRAIN, generator=torch.Generator().manual_seed(2)) < 0.5
    targets = masks.float() @ TRUTH.T
    monkeypatch.setattr(step, "load_tensors", lambda _: {"masks": masks, "targets": targets[:, None]})
    monkeypatch.setattr(step, "member_inputs", lambda *_: iter([{"member": m} for m in range(members)]))
    job = Job(members)
    chosen = step._tune(job, None, picky, [{"noise": noise} for noise in noises])
    return chosen, job.written["results/mine/tuning/picky.json"]


def test_the_best_candidate_is_chosen_and_every_one_is_written(monkeypatch) -> None:
    chosen, record = tuned(monkeypatch, [5.0, 0.5, 0.0])
    assert chosen == record["chosen"] == {"noise": 0.0}
    reached = {entry["params"]["noise"]: entry["lds"] for entry in record["candidates"]}
    assert reached[0.0] == 1.0
    assert reached[5.0] < reached[0.5] < 1.0
    assert record["metric"] == "lds on tune queries and tune masks"


@pytest.mark.parametrize(("bad", "members"), [(-1.0, 1), (0.1, 2)])
def test_a_candidate_that_is_refused_is_named_and_the_others_go_on(monkeypatch, bad, members) -> None:
    chosen, record = tuned(monkeypatch, [bad, 5.0, 0.5], members)
    assert chosen == {"noise": 0.5}
    (refused,) = [entry for entry in record["candidates"] if entry["params"]["noise"] == bad]
    assert refused["lds"] is None
    assert f"configs/methods/picky.yaml with {{'noise': {bad}}}: noise {bad} is negative" in refused["why"]
    assert [entry["lds"] is None for entry in record["candidates"]].count(True) == 1


def test_where_all_are_refused_the_first_reason_is_the_error(monkeypatch) -> None:
    with pytest.raises(UserError, match=r"picky\.yaml with \{'noise': -1\.0\}: noise -1\.0 is negative"):
        tuned(monkeypatch, [-2.0, -1.0])
