"""Sequences of tokens for language models: inputs, and the token that follows at each position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proponent.settings.ragged_rows import IGNORED, PADDING

START = 1
"""Token in front of every sequence, from which the first token is predicted."""
SPECIAL = ("[PAD]", "[START]")
"""Names of the tokens that are not of the data, in the order of their numbers."""


def next_token_rows(
    sequences: Sequence[Sequence[int]], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and labels of a language model, (n, length) each.

    Inputs begin with :data:`START` and end in padding (0); labels are the tokens that follow, and -100 behind the last one.

    Args:
        sequences: token numbers from 2; those after the first ``length`` are cut off.
        length: positions per sequence.
    """
    x = np.full((len(sequences), length), PADDING)
    y = np.full((len(sequences), length), IGNORED)
    for row, sequence in enumerate(sequences):
        tokens = list(sequence[:length])
        x[row, : len(tokens)] = [START, *tokens[:-1]]
        y[row, : len(tokens)] = tokens
    return x, y
