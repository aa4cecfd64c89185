"""Words of texts as token numbers, the most frequent words of the training part first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
SPECIAL = ("[PAD]", "[UNK]")
"""Names of the tokens other than words, in the order of their numbers."""


class Vocabulary:
    """Token numbers of words: 0 is padding, 1 is an unknown word, and the words follow.

    Args:
        words: different words, in the order of their numbers.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.names = [*SPECIAL, *words]
        self._numbers = {word: number for number, word in enumerate(words, start=len(SPECIAL))}

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], size: int | None = None) -> Vocabulary:
        """Return the vocabulary of the most frequent words of some texts.

        Args:
            texts: words of each text.
            size: largest number of tokens, the special ones included; None for all words.
        """
        counts = Counter(word for text in texts for word in text)
        # Equally frequent words are in alphabetical order, which does not depend on the order of the texts.
        words = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(words if size is None else words[: size - len(SPECIAL)])

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.names)

    def number(self, word: str) -> int:
        """Return the number of a word, or that of unknown words."""
        return self._numbers.get(word, UNKNOWN)

    def rows(self, texts: Sequence[Sequence[str]], length: int) -> NDArray[np.int64]:
        """Return the first ``length`` words of each text as numbers, (n, length), with padding at the end."""
        found = np.full((len(texts), length), PADDING)
        for row, text in enumerate(texts):
            numbers = [self.number(word) for word in text[:length]]
            found[row, : len(numbers)] = numbers
        return found
