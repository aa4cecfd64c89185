"""Texts as token numbers of a setting whose tokens are whole words with names, for queries that are new texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNKNOWN = "[UNK]"
_SPECIAL = re.compile(r"\[[A-Z]+\]|<.*>")
_PIECE = re.compile(r"(##|Ġ|▁).*|[a-z]+ \d+")
"""Names of pieces of words, and of tokens of music."""
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


class NamedWords:
    """A tokenizer of words in lower case, with the two calls that tokenizers of transformers have.

    Args:
        names: names of the tokens 0, 1, …; one of them is ``[UNK]``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._numbers = {name: number for number, name in enumerate(names)}

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Return the tokens of a text as ``input_ids``; an unknown word has the token ``[UNK]``."""
        unknown = self._numbers[_UNKNOWN]
        return {"input_ids": [self._numbers.get(word, unknown) for word in _WORD.findall(text.lower())]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the names of tokens."""
        return [self._names[number] for number in ids]


def words_tokenizer(names: Sequence[str]) -> NamedWords | None:
    """Return a tokenizer for tokens with these names; None where they are not whole words in lower case."""
    words = [name for name in names if not _SPECIAL.fullmatch(name)]
    if _UNKNOWN not in names or any(_PIECE.fullmatch(word) or word != word.lower() for word in words):
        return None
    return NamedWords(names)
