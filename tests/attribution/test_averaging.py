"""Calls of a method over members, checkpoints and damping grids, with small fake methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from proponent.attribution.averaging import average
from proponent.attribution.member_mean import MemberMean
from proponent.attribution.scoring import Scorer, accepted
from proponent.attribution.stored_values import as_array, check_values
from proponent.errors import UserError
from proponent.methods.shared.workspace import Workspace


def test_a_damping_grid_is_tried_in_a_row_at_each_checkpoint() -> None:
    asked = []

    def watched(gradients: Tensor, *, damping: float, checkpoint: float) -> Tensor:
        asked.append((checkpoint, damping))
        return gradients / damping

    candidates = [{"damping": damping} for damping in (1.0, 3.0)]
    average(watched, candidates, [{"gradients": torch.ones(2, 3)}], checkpoints=(0.5, 1.0))
    assert asked == [(0.5, 1.0), (0.5, 3.0), (1.0, 1.0), (1.0, 3.0)]


def test_each_member_has_a_workspace_and_each_grid_is_announced_in_it() -> None:
    seen: list[tuple[int, tuple[float, ...], str]] = []
    workspaces: list[Workspace] = []

    def watched(member: int, workspace: Workspace, *, damping: float, kind: str) -> Tensor:
        seen.append((member, workspace.dampings, kind))
        workspaces.append(workspace)
        return torch.ones(1, 2)

    candidates = [
        {"kind": "a", "damping": 1.0},
        {"kind": "a", "damping": 3.0},
        {"kind": "b", "damping": 2.0},
    ]
    average(watched, candidates, [{"member": 0}, {"member": 1}])
    one_member = [((1.0, 3.0), "a"), ((1.0, 3.0), "a"), ((2.0,), "b")]
    assert seen == [(member, *call) for member in (0, 1) for call in one_member]
    assert len({id(workspace) for workspace in workspaces}) == 2, "one per member"
    assert workspaces[0].dampings == (), "no grid is announced once its candidates have been tried"


def test_a_value_is_kept_for_all_candidates_of_a_member() -> None:
    made = []

    class Owner:
        value = 2.0

    def keeping(gradients: Owner, workspace: Workspace, *, damping: float) -> Tensor:
        value = workspace.keep(gradients, "kernel", lambda: made.append(damping) or gradients.value)
        return torch.full((1, 2), value / damping)

    first, second = average(keeping, [{"damping": 1.0}, {"damping": 2.0}], [{"gradients": Owner()}])
    assert made == [1.0]
    assert first.scores().tolist() == [[2.0, 2.0]]
    assert second.scores().tolist() == [[1.0, 1.0]]


def test_a_method_that_lists_no_workspace_gets_none() -> None:
    def plain(member: int, *, scale: float = 1.0) -> Tensor:
        return torch.full((1, 2), member * scale)

    (mean,) = average(plain, [{"scale": 2.0}], [{"member": 1}, {"member": 3}])
    assert mean.scores().tolist() == [[4.0, 4.0]]


def test_candidates_without_damping_are_all_tried() -> None:
    first, second = average(
        lambda *, checkpoint: torch.ones(1, 2) * checkpoint, [{"checkpoint": 0.5}] * 2, [{}]
    )
    assert torch.equal(first.scores(), second.scores())


def test_a_refused_candidate_is_not_tried_on_later_members() -> None:
    called = []

    def refusing(member: int, *, damping: float) -> Tensor:
        called.append((member, damping))
        if damping < 0:
            raise ValueError("damping is negative")
        return torch.ones(1, 2)

    bad, good = average(
        refusing, [{"damping": -1.0}, {"damping": 1.0}], [{"member": 0}, {"member": 1}], source="mine.yaml"
    )
    assert called == [(0, -1.0), (0, 1.0), (1, 1.0)]
    assert str(bad) == "mine.yaml with {'damping': -1.0}: damping is negative"
    assert isinstance(bad.__cause__, ValueError)
    assert isinstance(good, MemberMean)
    assert good.count == 2


def test_other_errors_of_a_method_keep_their_traceback() -> None:
    def broken(*, damping: float) -> Tensor:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        average(broken, [{"damping": 1.0}], [{}])


@pytest.mark.parametrize("normalised", [False, True])
def test_arrays_are_averaged_like_tensors(normalised: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    members = [torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    tensors, arrays = MemberMean(normalised=normalised), MemberMean(normalised=normalised)
    for member in members:
        tensors.add(member)
        arrays.add(member.numpy())
    assert isinstance(arrays.scores(), np.ndarray)
    np.testing.assert_allclose(arrays.scores(), tensors.scores().numpy(), rtol=1e-14)


def test_further_results_are_kept_for_one_member_and_scalars_averaged_over_several() -> None:
    mean = MemberMean()
    mean.add({"scores": torch.ones(1, 2), "duals": torch.ones(3), "agreement": torch.tensor(0.5)})
    assert set(mean.extras()) == {"duals", "agreement"}
    mean.add({"scores": torch.ones(1, 2), "duals": torch.ones(3), "agreement": torch.tensor(1.0)})
    assert {name: value.item() for name, value in mean.extras().items()} == {"agreement": 0.75}


class Finishing:
    """A method's module with a function that turns mean scores into the final ones."""

    @staticmethod
    def attribute(member: int, *, scale: float) -> Tensor:
        return torch.full((1, 2), member * scale)

    @staticmethod
    def finish(scores: Tensor, data: float) -> Tensor:
        return scores + data


def test_scores_are_finished_once_after_averaging() -> None:
    scorer = Scorer(Finishing, Finishing.attribute)
    found = [
        accepted(outcome)["scores"]
        for outcome in scorer.score(
            [{"scale": 1.0}, {"scale": 2.0}], [{"member": 1}, {"member": 3}], {"data": 10.0}
        )
    ]
    assert [scores.tolist() for scores in found] == [[[12.0, 12.0]], [[14.0, 14.0]]]


def test_a_method_of_groups_predicts_them_itself() -> None:
    class Groups:
        @staticmethod
        def group_scores(results: dict[str, Tensor], masks: Tensor) -> Tensor:
            return results["duals"] * masks.sum(1, keepdim=True)

    masks = np.array([[True, True], [False, True]])
    results = {"scores": torch.ones(1, 2), "duals": torch.tensor(3.0)}
    assert Scorer(Groups, print, groups=True).predict(results, masks).tolist() == [[6.0], [3.0]]
    assert Scorer(Groups, print).predict(results, masks).tolist() == [[2.0], [1.0]]


def test_values_are_stored_in_single_precision_and_whole_numbers_as_they_are() -> None:
    doubles = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)
    assert as_array(doubles).dtype == np.float32
    assert np.array_equal(as_array(doubles), doubles.detach().float().numpy())
    assert as_array(torch.tensor([1.0], dtype=torch.bfloat16)).dtype == np.float32
    assert as_array(torch.tensor([3])).dtype == np.int64
    assert np.array_equal(as_array(np.array([0.1, 0.2])), as_array(doubles))


def test_results_of_another_shape_or_not_finite_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"mine\.yaml: scores of shape \(1, 2\) were returned; \(2, 2\) is required"
    ):
        check_values(np.ones((1, 2)), (2, 2), "scores", "mine.yaml")
    with pytest.raises(UserError, match=r"mine\.yaml: 1 of 2 scores are NaN or infinite"):
        check_values(np.array([1.0, np.inf]), (2,), "scores", "mine.yaml")
