"""TRAK: its formula, its example-space form, its averaging, and the case in which it is an influence function."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from methods.fakes import Checkpoints, linear_world, mlp_world, newton, self_influence
from oracles import trak as oracle
from oracles.influence import one_by_one, retraining_slopes
from proponent.attribution.member_mean import MemberMean
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.seeds import derive_seed

POWERS = {"none": 0.0, "sqrt": 0.5, "full": 1.0}


@pytest.mark.parametrize("weighting", POWERS)
@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_example_space_equals_the_formula_in_parameter_space(weighting: str, damping: float) -> None:
    world = mlp_world(n=25)
    pair = world.pair()
    rows = (world.loss_weight * (1 - world.loss_weight)) ** POWERS[weighting]
    train = one_by_one(
        lambda theta: torch.stack(
            [world.target(theta, x, y) for x, y in zip(world.x_train, world.y_train, strict=True)]
        ),
        world.theta,
    )
    query = one_by_one(world.targets, world.theta)
    expected = oracle.kernel(train, query, rows, damping)
    kernel, weight = trak.attribute(
        Checkpoints({1.0: pair}), Workspace(), weighting=weighting, damping=damping
    )
    torch.testing.assert_close(kernel, expected)
    torch.testing.assert_close(weight, world.loss_weight)


def test_unprojected_and_fully_weighted_it_is_the_influence_function() -> None:
    world = linear_world(n=20, d=4, n_classes=2)
    slopes = retraining_slopes(
        lambda weights: newton(lambda theta: world.objective(theta, weights), world.theta),
        world.targets,
        len(world.x_train),
    )
    # lambda = n x weight decay, put in units of the mean weighted diagonal
    rows = world.loss_weight * (1 - world.loss_weight)
    damping = world.weight_decay * len(rows) / (rows * world.pair().train.norms_squared()).mean().item()
    kernel, weight = trak.attribute(world.gradients(), Workspace(), weighting="full", damping=damping)
    torch.testing.assert_close(kernel * weight, slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dim", [8, 200], ids=["fewer dimensions than examples", "more"])
@pytest.mark.parametrize("weighting", POWERS)
def test_projected_equals_the_formula_on_projected_gradients(dim: int, weighting: str) -> None:
    world = mlp_world(n=25)
    pair, member = world.pair(), 3
    rows = (world.loss_weight * (1 - world.loss_weight)) ** POWERS[weighting]
    stream = derive_seed(5, "trak", member)
    projected = [block.project(dim, "gaussian", stream).dense() for block in (pair.train, pair.query)]
    expected = oracle.kernel(*projected, rows, 0.3)
    kernel, _ = trak.attribute(
        Checkpoints({1.0: pair}, member),
        Workspace(),
        damping=0.3,
        weighting=weighting,
        projection_dim=dim,
        projection="gaussian",
        seed=5,
    )
    torch.testing.assert_close(kernel, expected)


def test_members_are_projected_independently() -> None:
    pair = mlp_world().pair()
    kernels = [
        trak.attribute(Checkpoints({1.0: pair}, member), Workspace(), projection_dim=8)[0]
        for member in (0, 1, 0)
    ]
    assert torch.equal(kernels[0], kernels[2])
    assert not torch.allclose(kernels[0], kernels[1])


def test_kernel_and_weight_are_averaged_separately() -> None:
    worlds = [mlp_world(steps=20), mlp_world(steps=300)]
    factors = [trak.attribute(world.gradients(), Workspace()) for world in worlds]
    mean = MemberMean()
    for member in factors:
        mean.add(member)
    kernels, weights = zip(*factors, strict=True)
    torch.testing.assert_close(mean.scores(), oracle.ensemble(list(kernels), list(weights)))
    of_products = sum(kernel * weight for kernel, weight in factors) / 2
    assert not torch.allclose(mean.scores(), of_products, rtol=1e-2)


def test_normalised_members_count_the_same() -> None:
    """A member whose scores are a thousand times larger does not drown the other."""
    scores = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    mean = MemberMean(normalised=True)
    for member in (scores[0], 1000 * scores[1]):
        mean.add((member, torch.ones(50)))
    expected = (scores / scores.std(dim=-1, keepdim=True)).mean(0)
    torch.testing.assert_close(mean.scores(), expected)


@pytest.mark.parametrize("dim", [0, 8])
@pytest.mark.parametrize("weighting", POWERS)
def test_self_influence_is_the_diagonal_with_the_weight_once_more(dim: int, weighting: str) -> None:
    world = mlp_world()
    world = world.at_queries(world.x_train, world.y_train)
    options = {"projection_dim": dim, "weighting": weighting, "damping": 0.2}
    kernel, weight = trak.attribute(world.gradients(), Workspace(), **options)
    factors = self_influence(trak, world.gradients(), Workspace(), **options)
    torch.testing.assert_close(factors[0] * factors[1] * factors[2], (kernel * weight).diagonal() * weight)


def test_self_influence_damps_less_unless_the_configuration_says_otherwise() -> None:
    gradients = mlp_world().gradients()
    default, less, same = (
        self_influence(trak, gradients, Workspace(), **params)[0]
        for params in ({}, {"damping": 0.01}, {"damping": 1.0})
    )
    assert torch.equal(default, less)
    assert not torch.allclose(default, same)


def test_a_grid_gives_the_same_scores_as_single_dampings() -> None:
    gradients, workspace = mlp_world().gradients(), Workspace([1.0] * 5)
    grid = [trak.attribute(gradients, workspace, damping=damping)[0] for damping in (0.1, 1.0, 10.0)]
    for damping, kernel in zip((0.1, 1.0, 10.0), grid, strict=True):
        torch.testing.assert_close(kernel, trak.attribute(gradients, Workspace(), damping=damping)[0])


def test_scores_after_a_grid_have_the_bytes_of_those_without_one() -> None:
    gradients, workspace = mlp_world().gradients(), Workspace([0.1, 1.0, 10.0])
    for damping in workspace.dampings:
        trak.attribute(gradients, workspace, damping=damping)
    workspace.announce(())
    final = trak.attribute(gradients, workspace, damping=1.0)[0]
    assert torch.equal(final, trak.attribute(gradients, Workspace(), damping=1.0)[0])


@pytest.mark.slow
@pytest.mark.parametrize("projection_dim", [0, 8, 100])
def test_a_workspace_does_not_keep_the_gradients_of_earlier_checkpoints(projection_dim: int) -> None:
    workspace, path = Workspace(), Checkpoints({0.5: mlp_world().pair(), 1.0: mlp_world().pair()})
    earlier = weakref.ref(path.values[0.5].train)
    for checkpoint in path.fractions:
        trak.attribute(path, workspace, checkpoint=checkpoint, projection_dim=projection_dim)
    del path.values[0.5]
    gc.collect()
    assert earlier() is None
    assert len(workspace._kept) == 2, (
        "a value of the training gradients and one of the queries, of the last checkpoint"
    )


def test_a_growing_damping_is_smaller_at_an_early_checkpoint() -> None:
    pair = mlp_world(n=25).pair()
    path = Checkpoints({0.25: pair, 1.0: pair})

    def kernel(**options: object) -> torch.Tensor:
        return trak.attribute(path, Workspace(), **options)[0]

    early = kernel(damping=2.0, growing=True, checkpoint=0.25)
    torch.testing.assert_close(early, kernel(damping=0.5))
    torch.testing.assert_close(kernel(damping=2.0, growing=True), kernel(damping=2.0))
