"""Inputs of several tensors behave like one tensor with rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import vmap

from proponent.rows import NamedRows, join_rows, numbers_per_row, outputs_of, rows_equal

A, B = torch.arange(12.0).reshape(4, 3), torch.arange(4)


class Named(nn.Module):
    """Takes its inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, a, b):
        """Return ``scale * (a + b)``."""
        return self.scale * (a + b[:, None])


@pytest.mark.parametrize("positional", [False, True])
def test_a_model_is_called_by_keyword_or_by_position(positional):
    first = {"b": B, "a": A} if not positional else {"x0": A, "x1": B}
    x = NamedRows(first, positional=positional)
    assert torch.equal(outputs_of(Named(), x), A + B[:, None])
    assert torch.equal(outputs_of(Named(), x, {"scale": torch.tensor(2.0)}), 2 * (A + B[:, None]))


def test_rows_are_chosen_in_all_tensors():
    x = NamedRows({"a": A, "b": B})
    assert len(x) == 4
    for rows in (slice(1, 3), [3, 0], torch.tensor([2])):
        assert torch.equal(x[rows].tensors["a"], A[rows])
        assert torch.equal(x[rows].tensors["b"], B[rows])
    stacked = x.index_select(0, torch.tensor([0, 1, 1, 3])).unflatten(0, (2, 2))
    assert stacked.tensors["a"].shape == (2, 2, 3)
    assert stacked.tensors["b"].tolist() == [[0, 1], [1, 3]]
    assert rows_equal(join_rows([x[:1], x[1:]]), x)
    assert not rows_equal(x, x[[0, 1, 3, 2]])
    assert numbers_per_row(x) == 4


def test_transformations_map_over_all_tensors():
    x, model = NamedRows({"a": A, "b": B}), Named()
    found = vmap(lambda one: outputs_of(model, one[None])[0])(x)
    assert torch.equal(found, A + B[:, None])
