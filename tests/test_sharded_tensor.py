"""Rows of several tensors are read as those of the joined tensor."""

from __future__ import annotations

import pytest
import torch

from proponent.rows import NamedRows
from proponent.sharded_tensor import ShardedTensor

WHOLE = torch.arange(60).reshape(10, 2, 3).to(torch.int16)
READS = {
    "range": lambda x: x[2:6],
    "range across shards": lambda x: x[1:9],
    "range to the end": lambda x: x[-3:],
    "empty range": lambda x: x[7:7],
    "everything": lambda x: x[:],
    "row": lambda x: x[4],
    "last row": lambda x: x[-1],
    "indices": lambda x: x[torch.tensor([9, 0, 4, 4, -1])],
    "list of indices": lambda x: x[[3, 8]],
    "mask": lambda x: x[torch.arange(10) % 3 == 0],
    "matrix of indices": lambda x: x[torch.tensor([[9, 0], [4, 3]])],
    "index_select": lambda x: x.index_select(0, torch.tensor([5, 9, 1])),
    "flattened range": lambda x: x.flatten(1)[3:8],
    "reshaped": lambda x: x.reshape(10, 1, 6)[torch.tensor([2, 7])],
    "chunks": lambda x: torch.cat([part.float() for part in x.split(4)]),
}


@pytest.fixture
def sharded(monkeypatch):
    made = ShardedTensor([WHOLE[:4], WHOLE[4:5], WHOLE[5:]])
    monkeypatch.setattr(ShardedTensor, "joined", lambda _: pytest.fail("the shards are joined in memory"))
    return made


@pytest.mark.parametrize("name", READS)
def test_rows_are_read_from_the_shards_that_have_them(sharded, name):
    found, expected = READS[name](sharded), READS[name](WHOLE)
    assert torch.equal(found, expected)
    assert found.dtype == expected.dtype
    assert not isinstance(found, ShardedTensor) or name == "everything"


def test_it_looks_like_a_tensor(sharded):
    assert isinstance(sharded, torch.Tensor)
    assert (sharded.shape, sharded.dtype, len(sharded)) == (WHOLE.shape, WHOLE.dtype, 10)
    assert sharded.to("cpu") is sharded
    assert repr(sharded) == "ShardedTensor(3 shards, torch.int16 (10, 2, 3))"


def test_a_range_within_a_shard_shares_its_memory(sharded):
    assert sharded[5:7].data_ptr() == WHOLE[5:].data_ptr()


def test_named_rows_of_shards(sharded):
    rows = NamedRows({"a": sharded, "b": torch.arange(10)})
    found = rows.index_select(0, torch.tensor([7, 3])).unflatten(0, (1, 2))
    assert torch.equal(found.tensors["a"], WHOLE[[7, 3]][None])


def test_any_other_operation_is_that_of_the_joined_tensor():
    made = ShardedTensor([WHOLE[:4], WHOLE[4:]])
    assert int(made.max()) == 59
    assert torch.equal(made + 1, WHOLE + 1)
    assert torch.equal(made.clone(), WHOLE)
    assert torch.equal(made.flatten(1).T, WHOLE.flatten(1).T)
    with pytest.raises(IndexError):
        made[10]
    for rows in ([10], [-11], [0, 25]):
        with pytest.raises(IndexError, match="out of bounds for 10 rows"):
            made[torch.tensor(rows)]
