"""Masks and seeds of retrainings depend on names and numbers only."""

from __future__ import annotations

import pytest
import torch

from proponent.config.design_schema import DesignConfig, DesignKind, n_rows
from proponent.config.specifications.training_specs import Draw
from proponent.errors import UserError
from proponent.training.designs import mask_row, member_run, run_at

N = 41


def design(kind="subsets", **fields):
    return DesignConfig(kind=DesignKind(kind), **{"count": 6, "seeds": 2, **fields})


def masks(design, name, n, seed):
    """Return all masks of a design, (rows, n)."""
    return torch.stack([mask_row(design, name, n, seed, row) for row in range(n_rows(design))])


def runs(design, name, n, seed):
    """Return all retrainings of a design, the repeats of a row next to each other."""
    return [run_at(design, name, n, seed, index) for index in range(n_rows(design) * design.seeds)]


def signature(run):
    return run.init_seed, run.order_seed, tuple(run.mask.tolist()), run.by_weight


@pytest.mark.parametrize("fraction, kept", [(0.5, 20), (0.29, 11), (0.9, 36)])
def test_subsets_keep_exactly_the_floor_of_their_fraction(fraction, kept):
    assert masks(design(fraction=fraction), "subsets", N, 0).sum(1).tolist() == [kept] * 6


def test_rounding_errors_do_not_lose_an_example():
    assert 0.29 * 100 < 29
    assert masks(design(fraction=0.29), "subsets", 100, 0).sum(1).tolist() == [29] * 6


@pytest.mark.parametrize(
    "kind", ["subsets", "subsets_fixed_seed", "fit", "loo", "permutations", "complements"]
)
def test_a_larger_count_begins_with_the_runs_of_a_smaller_one(kind):
    few = runs(design(kind, count=3), kind, N, 7)
    many = runs(design(kind, count=9), kind, N, 7)
    assert [signature(run) for run in few] == [signature(run) for run in many[: len(few)]]


def test_seeds_of_a_repeat_do_not_depend_on_the_number_of_repeats():
    two, five = design(seeds=2), design(seeds=5)
    for row in range(3):
        for repeat in range(2):
            one = run_at(two, "subsets", N, 7, row * 2 + repeat)
            other = run_at(five, "subsets", N, 7, row * 5 + repeat)
            assert signature(one) == signature(other)


def test_subsets_draw_every_seed_and_mask_anew():
    drawn = runs(design(), "subsets", N, 0) + runs(design("fit"), "fit", N, 0)
    seeds = [seed for run in drawn for seed in (run.init_seed, run.order_seed)]
    assert len(set(seeds)) == len(seeds)
    assert len({tuple(run.mask.tolist()) for run in drawn}) == 12
    assert not any(run.by_weight for run in drawn)


def test_masks_are_uniform():
    kept = masks(design(count=2000), "subsets", N, 0).double().mean(0)
    # 2,000 draws of probability 20 / 41: five standard deviations are 0.056.
    assert (kept - 20 / N).abs().max() < 0.056


def test_leave_one_out_begins_with_all_examples_and_leaves_out_distinct_ones():
    rows = masks(design("loo", count=N), "loo", N, 3)
    assert rows.shape == (N + 1, N) == (n_rows(design("loo", count=N)), N)
    assert rows[0].all()
    assert (~rows[1:]).sum(1).tolist() == [1] * N
    assert (~rows[1:]).sum(0).tolist() == [1] * N


def test_leave_one_out_pairs_seeds_across_rows():
    drawn = runs(design("loo", count=4, seeds=3), "loo", N, 3)
    seeds = torch.tensor([[run.init_seed, run.order_seed] for run in drawn]).unflatten(0, (5, 3))
    assert (seeds == seeds[:1]).all()
    assert len(set(seeds[0].flatten().tolist())) == 6
    assert all(run.by_weight for run in drawn)


def test_fixed_seed_subsets_replay_the_members():
    drawn = runs(design("subsets_fixed_seed", seeds=2), "subsets_fixed_seed", N, 3)
    for index, run in enumerate(drawn):
        member = member_run(3, index % 2)
        assert (run.init_seed, run.order_seed) == (member.init_seed, member.order_seed)
        assert run.by_weight


def test_permutations_are_nested_prefixes_of_orders():
    drawn = design("permutations", count=3, seeds=2, fraction=0.25)
    rows = masks(drawn, "permutations", N, 0).unflatten(0, (3, 4))
    assert rows.sum(2).tolist() == [[10, 20, 30, 41]] * 3
    assert (rows[:, :-1] <= rows[:, 1:]).all()
    assert not torch.equal(rows[0], rows[1])


def test_the_prefixes_of_an_order_share_their_seeds():
    drawn = runs(design("permutations", count=3, seeds=2, fraction=0.25), "permutations", N, 0)
    seeds = torch.tensor([[run.init_seed, run.order_seed] for run in drawn]).unflatten(0, (3, 4, 2))
    assert (seeds == seeds[:, :1]).all()
    assert len(set(seeds[:, 0].flatten().tolist())) == 12
    assert not any(run.by_weight for run in drawn)


@pytest.mark.parametrize("n", [40, 41])
def test_complements_are_pairs_of_disjoint_halves_with_seeds_of_their_own(n):
    drawn = design("complements", count=3, seeds=2)
    pairs = masks(drawn, "complements", n, 0).unflatten(0, (3, 2))
    assert pairs.sum(2).tolist() == [[20, 20]] * 3
    assert not (pairs[:, 0] & pairs[:, 1]).any()
    assert len({tuple(half.tolist()) for half in pairs.flatten(0, 1)}) == 6
    assert (
        len({seed for run in runs(drawn, "complements", n, 0) for seed in (run.init_seed, run.order_seed)})
        == 24
    )


def test_another_seed_or_name_draws_other_masks():
    first = masks(design(), "subsets", N, 0)
    assert not torch.equal(first, masks(design(), "subsets", N, 1))
    assert not torch.equal(first, masks(design(), "others", N, 0))


def test_designs_that_do_not_fit_the_data_are_refused():
    with pytest.raises(UserError, match="design loo: count is 50 but there are only 41 examples"):
        masks(design("loo", count=50), "loo", N, 0)
    with pytest.raises(UserError, match=r"design tiny: fraction 0\.01 of 41 examples keeps 0"):
        masks(design(fraction=0.01), "tiny", N, 0)
    with pytest.raises(UserError, match="design orders: 50 prefixes of only 41 examples: raise the fraction"):
        masks(design("permutations", fraction=0.02), "orders", N, 0)
    with pytest.raises(ValueError, match=r"at most 0\.5, not 0\.7"):
        design("permutations", fraction=0.7)
    with pytest.raises(ValueError, match=r"fraction of complements must be 0\.5, not 0\.4"):
        design("complements", fraction=0.4)


@pytest.mark.parametrize("kind", ["subsets", "loo", "complements", "permutations"])
def test_a_shard_is_drawn_without_the_count_of_its_design(kind):
    fields = {"fraction": 0.25} if kind == "permutations" else {}
    whole = design(kind, count=N if kind == "loo" else 6, **fields)  # leave-one-out of every example
    draw = Draw(name="d", kind=whole.kind, seeds=whole.seeds, fraction=whole.fraction)
    last = n_rows(whole) * whole.seeds
    for index in (0, 1, last - 1):
        alone = run_at(draw.reaching(index + 1), "d", N, 3, index)
        assert signature(alone) == signature(run_at(whole, "d", N, 3, index))
