"""Memory that models in memory take: kept as far as it fits, and refused before anything is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import proponent
from proponent.errors import UserError
from proponent.memory_budget import MemoryBudget

N_TRAIN = 400
X, Y = torch.randn(N_TRAIN, 8, generator=torch.Generator().manual_seed(0)), torch.arange(N_TRAIN) % 3


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def factorisations(monkeypatch) -> list[int]:
    made: list[int] = []
    for name in ("cholesky", "cholesky_ex"):
        original = getattr(torch.linalg, name)
        monkeypatch.setattr(
            torch.linalg, name, lambda *a, original=original, **k: made.append(1) or original(*a, **k)
        )
    return made


@pytest.mark.parametrize(("memory_mib", "again"), [(4000, 0), (7, 1), (4, 2)])
def test_models_are_kept_as_far_as_they_fit(monkeypatch, memory_mib, again):
    """TRAK takes 3.1 MiB for each model, most of it in matrices of 400 x 400."""
    made = factorisations(monkeypatch)
    attributor = proponent.Attributor(
        "trak-3", net(0), (X, Y), models=[net(seed) for seed in range(3)], memory_mib=memory_mib
    )
    first = attributor.attribute((X[:3], Y[:3]))
    per_model, rest = divmod(len(made), 3)
    assert per_model
    assert not rest
    made.clear()
    assert torch.equal(attributor.attribute((X[:3], Y[:3])), first)
    assert len(made) == again * per_model


def test_queries_are_taken_in_blocks_that_fit():
    """Scores of 400 queries take 1.8 MiB."""
    attributor = proponent.Attributor("graddot", net(0), (X, Y), memory_mib=2)
    sizes = []
    score = attributor._attribute
    attributor._attribute = lambda x, y: sizes.append(len(x)) or score(x, y)
    queries = (X.repeat(3, 1), Y.repeat(3))
    found = attributor.attribute(queries)
    assert sum(sizes) == 3 * N_TRAIN
    assert 1 < len(sizes) < 6
    torch.testing.assert_close(found, proponent.Attributor("graddot", net(0), (X, Y)).attribute(queries))


@pytest.mark.parametrize("method", ["trak", "if-exact", "ekfac", "datainf"])
def test_too_little_memory_is_refused_before_anything_is_computed(method):
    with pytest.raises(
        UserError, match=r"needs \d+ MiB of memory and memory_mib is 1: raise it to"
    ) as refusal:
        proponent.Attributor(method, net(0), (X.repeat(10, 1), Y.repeat(10)), memory_mib=1)
    assert "\n" not in str(refusal.value)
    enough = int(str(refusal.value).rpartition("raise it to ")[2].partition(",")[0])
    proponent.Attributor(method, net(0), (X.repeat(10, 1), Y.repeat(10)), memory_mib=enough)


@pytest.mark.parametrize("method", ["if-cg", "ekfac"])
def test_queries_of_methods_of_the_network_count(method):
    """The gradients of all queries of a call are held together."""
    attributor = proponent.Attributor(method, net(0), (X, Y), memory_mib=600)
    attributor.attribute((X[:3], Y[:3]))
    curvature = attributor._members[0]._kept["network", 0]
    few = curvature.with_queries(X[:2], Y[:2]).budget.held_mib
    assert curvature.with_queries(X[:100], Y[:100]).budget.held_mib > few
    curvature.budget = MemoryBudget(curvature.budget.held_mib + 0.001, curvature.budget.held_mib)
    with pytest.raises(
        UserError, match=r"the gradients of 400 queries do not fit into .* give fewer queries per call"
    ):
        attributor.attribute((X, Y))
