"""Solves with one matrix and many dampings: both routes give the same answers, and kept values are released."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.methods.shared.solvers.damped_solver import DampedSolver
from proponent.methods.shared.solvers.krylov import grow
from proponent.methods.shared.workspace import Workspace


def spd(n: int, rank: int) -> Tensor:
    root = torch.randn(n, rank, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T


@pytest.mark.parametrize("dampings", [1, 5], ids=["Cholesky", "eigendecomposition"])
def test_every_damping_equals_a_dense_inverse(dampings: int) -> None:
    matrix, right = spd(600, 40), torch.randn(600, 7, dtype=torch.float64)
    solver = DampedSolver(matrix, [1.0] * dampings)
    for damping in (0.5, 3.0, 0.5):
        inverse = torch.linalg.inv(matrix + damping * torch.eye(600, dtype=torch.float64))
        torch.testing.assert_close(solver.solve(right, damping), inverse @ right)
        torch.testing.assert_close(solver.quadratic(right.T, damping), (right.T @ inverse @ right).diagonal())
        torch.testing.assert_close(solver.hat(damping), (inverse @ matrix).diagonal())


def test_a_hat_keeps_the_digits_of_examples_of_little_weight() -> None:
    weights = torch.ones(60)
    weights[::5] = 1e-3
    matrix = spd(60, 40).float() * weights * weights[:, None]
    dense = matrix.double()
    expected = torch.linalg.solve(dense + 30.0 * torch.eye(60, dtype=torch.float64), dense).diagonal()
    torch.testing.assert_close(DampedSolver(matrix).hat(30.0).double(), expected, rtol=1e-4, atol=0.0)


def test_a_grid_decomposes_once_and_a_single_damping_never(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: calls.append(1) or eigh(matrix))
    right = torch.ones(50, 1, dtype=torch.float64)
    grid, single = DampedSolver(spd(50, 50), [1.0, 2.0, 3.0, 4.0]), DampedSolver(spd(50, 50))
    for damping in (1.0, 2.0, 3.0, 4.0):
        torch.testing.assert_close(grid.solve(right, damping), single.solve(right, damping))
    assert len(calls) == 1


@pytest.mark.parametrize("dampings", [1, 5])
def test_an_indefinite_matrix_is_an_error_that_names_the_damping(dampings: int) -> None:
    solver = DampedSolver(torch.diag(torch.tensor([1.0, -0.5, 2.0])), [1.0] * dampings)
    with pytest.raises(UserError, match=r"damping 0\.5 leaves a matrix that is singular .* at least"):
        solver.solve(torch.ones(3, 1), 0.5)
    torch.testing.assert_close(solver.solve(torch.ones(3, 1), 1.5)[1], torch.ones(1))


class Owner:
    """Something that a value is computed from."""


def test_one_value_per_owner_is_kept_while_the_owner_is_alive() -> None:
    workspace, owner, made = Workspace(), Owner(), []

    def make() -> Tensor:
        made.append(1)
        return torch.ones(3)

    first = workspace.keep(owner, "a", make)
    assert workspace.keep(owner, "a", make) is first
    assert workspace.keep(owner, "b", make) is not first
    assert len(made) == 2
    queries = Owner()
    workspace.keep(queries, "b", make)
    kept = weakref.ref(workspace.keep(owner, "b", make))
    assert len(made) == 3, (
        "what is computed from other queries does not replace what is computed from the training set"
    )
    del owner
    gc.collect()
    assert kept() is None


def test_a_kept_value_is_released_with_its_workspace_and_before_the_next_is_made() -> None:
    workspace, owner = Workspace(), Owner()
    first = weakref.ref(workspace.keep(owner, "a", lambda: torch.ones(3)))
    found = workspace.keep(owner, "b", lambda: torch.tensor(first() is None))
    assert found, "two values at a time need twice the memory"
    second = weakref.ref(workspace.keep(owner, "c", lambda: torch.ones(3)))
    del workspace
    assert second() is None, "no collection of cycles is needed"


def test_a_damping_is_one_of_the_announced_grid_or_alone() -> None:
    workspace = Workspace([0.1, 1.0])
    assert workspace.grid_of(1.0) == (0.1, 1.0)
    assert workspace.grid_of(2.0) == (2.0,)
    workspace.announce(())
    assert workspace.grid_of(1.0) == (1.0,)


def test_a_krylov_space_serves_every_larger_shift() -> None:
    matrix = spd(120, 60) / 60
    right = torch.randn(5, 120, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    space, basis = grow(lambda rows: rows @ matrix, right, shift=0.1, tolerance=1e-9, iterations=100)
    vectors = torch.cat(basis)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors), dtype=torch.float64))
    assert len(vectors) < 120
    assert space.residual <= 1e-9
    for shift in (0.1, 1.0, 30.0):
        exact = torch.linalg.solve(matrix + shift * torch.eye(120, dtype=torch.float64), right.T).T
        torch.testing.assert_close(space.solve(shift) @ vectors, exact, rtol=1e-7, atol=1e-9)


def test_the_reported_residual_is_the_true_one() -> None:
    matrix = spd(80, 80)
    right = torch.randn(3, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    space, basis = grow(lambda rows: rows @ matrix, right, shift=1.0, tolerance=1e-9, iterations=6)
    solution = space.solve(1.0) @ torch.cat(basis)
    residual = (right - solution @ matrix - solution).norm(dim=1) / right.norm(dim=1)
    assert space.residual > 1e-9
    assert space.residual == pytest.approx(residual.max().item(), rel=1e-6)


@pytest.mark.parametrize("repeats", [2, 3])
def test_equal_right_hand_sides_and_exhausted_spaces_are_solved(repeats: int) -> None:
    matrix = spd(10, 10)
    right = torch.randn(2, 10, dtype=torch.float64).repeat(repeats, 1)
    space, basis = grow(lambda rows: rows @ matrix, right, shift=0.3, tolerance=0.0, iterations=50)
    assert sum(map(len, basis)) <= 10
    exact = torch.linalg.solve(matrix + 0.3 * torch.eye(10, dtype=torch.float64), right.T).T
    torch.testing.assert_close(space.solve(0.3) @ torch.cat(basis), exact)


def test_negative_curvature_is_named() -> None:
    matrix = torch.diag(torch.tensor([3.0, 1.0, -0.5], dtype=torch.float64))
    with pytest.raises(UserError, match=r"damping 0\.2 leaves .* use a damping of at least 0\.51"):
        grow(lambda rows: rows @ matrix, torch.ones(1, 3).double(), shift=0.2, tolerance=0.0, iterations=9)
