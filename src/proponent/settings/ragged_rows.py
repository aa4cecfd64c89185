"""Lists of tokens of different lengths as tensors, with a mask of what is padding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.rows import MASK, SINGLE, TOKENS
from proponent.settings.column_values import Column

PADDING, IGNORED = 0, -100
"""Token that fills up short lists, and label that does (``ignore_index`` of torch's losses)."""

Named = Mapping[str, Column]


def pad_inputs(train: Named, query: Named, where: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return inputs by name as tensors, in which lists of tokens are padded with 0 to the longest of train and query.

    An ``attention_mask`` is added, 1 for tokens and 0 for padding, unless there is one. A list of tokens that is the only
    input gets the name ``input_ids``.

    Args:
        train: columns of the training examples by name.
        query: columns of the queries by the same names.
        where: beginning of messages.

    Raises:
        UserError: lists of different names have different lengths, so that one mask does not fit them.
    """
    ragged = [name for name in train if isinstance(train[name], list) or isinstance(query[name], list)]
    found: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for name in train:
        stored = TOKENS if name == SINGLE and name in ragged else name
        found[0][stored], found[1][stored] = pad(train[name], query[name], PADDING)
    if ragged and MASK not in train:
        for part, columns in zip(found, (train, query), strict=True):
            lengths = _lengths({name: columns[name] for name in ragged}, where)
            longest = found[0][TOKENS if ragged[0] == SINGLE else ragged[0]].shape[1]
            part[MASK] = (torch.arange(longest) < lengths[:, None]).to(torch.int64)
    return found


def pad(train: Column, query: Column, filling: int) -> tuple[Tensor, Tensor]:
    """Return two columns as tensors; lists are filled up at their end to the longest of both."""
    if isinstance(train, Tensor) and isinstance(query, Tensor):
        return train, query
    longest = max(len(row) for column in (train, query) for row in column)
    return _filled(train, longest, filling), _filled(query, longest, filling)


def _filled(column: Column, length: int, filling: int) -> Tensor:
    padded = torch.full((len(column), length), filling, dtype=torch.int64)
    for row, values in zip(padded, column, strict=True):
        row[: len(values)] = values
    return padded


def _lengths(columns: Named, where: str) -> Tensor:
    """Return the number of tokens of each row, which is that of every column."""
    lengths = {name: [len(row) for row in column] for name, column in columns.items()}
    first = next(iter(lengths))
    for name, other in lengths.items():
        if other != lengths[first]:
            raise UserError(
                f"{where}: the lists of '{name}' and '{first}' have different lengths, so that one {MASK} does not fit "
                "both; pad them in the dataset factory, and give each a mask of its own"
            )
    return torch.tensor(lengths[first])
