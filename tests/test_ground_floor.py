"""Helpers on the ground floor, which features and training share."""

from __future__ import annotations

import pytest
from torch.nn import functional as F

from proponent.chunking import chunks
from proponent.torch_compat import composites_opened, dropout_from, replaced, stackable


@pytest.mark.parametrize(
    ("total", "size", "expected"),
    [
        (7, 3, [(0, 3), (3, 6), (6, 7)]),
        (6, 3, [(0, 3), (3, 6)]),
        (2, 9, [(0, 2)]),
        (0, 3, []),
        (2, 0, [(0, 1), (1, 2)]),
    ],
)
def test_chunks_cover_a_range_in_order(total, size, expected):
    assert [(chunk.start, chunk.stop) for chunk in chunks(total, size)] == expected


@pytest.mark.parametrize(
    "block",
    [
        lambda: replaced({"relu": abs}),
        stackable,
        composites_opened,
        lambda: dropout_from(lambda shape, p, like: like),
    ],
    ids=["replaced", "stackable", "composites_opened", "dropout_from"],
)
def test_functions_of_torch_are_restored_after_an_error(block):
    before = dict(vars(F))
    with pytest.raises(RuntimeError, match="inside"), block():
        assert dict(vars(F)) != before
        raise RuntimeError("inside")
    assert dict(vars(F)) == before
