"""Token numbers as text, plain or with highlighted tokens."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.errors import UserError

_HIDDEN = ("[PAD]", "[START]", "[CLS]", "[SEP]", "<pad>", "<|endoftext|>")
"""Names of tokens that mark places in a text and are not part of it."""
_FIRST = ("input_ids", "title", "x", "")
"""Names of inputs with tokens, in the order in which they are looked for."""
_CONTINUES, _BEGINS = "##", ("Ġ", "▁")
"""Beginnings of pieces of words: WordPiece marks those that continue a word, other tokenizers those that begin one."""


def token_input(inputs: Mapping[str, Any]) -> str | None:
    """Return the name of the input with the tokens of an example; None where no input has tokens.

    A mask of a transformer is an integer input too, and is not returned.

    Args:
        inputs: (n, length) arrays by name, of one example or of several.
    """
    whole = [name for name, value in inputs.items() if np.issubdtype(value.dtype, np.integer)]
    return next((name for name in _FIRST if name in whole), whole[0] if len(whole) == 1 else None)


def token_pieces(row: ArrayLike, names: Sequence[str]) -> list[tuple[int, str]]:
    """Return the position of each shown token with its part of the text, whose concatenation is :func:`as_text`.

    Args:
        row: token numbers, (length,).
        names: name of each token.

    Raises:
        UserError: a number has no name.
    """
    places = shown_tokens(row, names)
    return list(zip(places, _pieces(row, places, names), strict=True))


def shown_tokens(row: ArrayLike, names: Sequence[str]) -> list[int]:
    """Return the positions of a row that hold text: without padding and marks of beginning and end.

    Args:
        row: token numbers, (length,); negative ones (ignored labels) are left out.
        names: name of each token.

    Raises:
        UserError: a number has no name.
    """
    numbers = np.asarray(row)
    if numbers.ndim != 1 or (len(numbers) and numbers.max() >= len(names)):
        raise UserError(
            f"a text must be token numbers (length,) below {len(names)}, not shape {numbers.shape} up to "
            f"{numbers.max(initial=0)}; give the names of all tokens"
        )
    return [place for place, number in enumerate(numbers) if number >= 0 and names[number] not in _HIDDEN]


def as_text(row: ArrayLike, names: Sequence[str]) -> str:
    """Return a row as plain text.

    Characters are joined as they are, words by spaces, and pieces of words to words.

    Args:
        row: token numbers, (length,).
        names: name of each token.

    Raises:
        UserError: a number has no name.
    """
    return "".join(_pieces(row, shown_tokens(row, names), names)).strip()


def as_html(row: ArrayLike, names: Sequence[str], weights: ArrayLike) -> str:
    """Return a row as HTML with highlighted tokens: blue for positive weights, orange for negative ones.

    The largest absolute weight has the strongest colour, and the others are proportional to it. Every highlighted token
    states its weight as a title and its sign as a class (``positive`` or ``negative``), since colour alone tells not all
    readers apart.

    Args:
        row: token numbers, (length,).
        names: name of each token.
        weights: one number per position, (length,).

    Raises:
        UserError: a number has no name, or there are not as many weights as positions.
    """
    values: NDArray[np.float64] = np.asarray(weights, dtype=np.float64)
    if values.shape != np.asarray(row).shape or not np.isfinite(values).all():
        raise UserError(
            f"weights of tokens must be finite numbers of shape {np.asarray(row).shape}, not {values.shape}; give one per "
            "position"
        )
    places = shown_tokens(row, names)
    largest = max((abs(values[place]) for place in places), default=0.0) or 1.0
    return "".join(
        _marked(piece, float(values[place]), float(values[place] / largest))
        for piece, place in zip(_pieces(row, places, names), places, strict=True)
    )


def _marked(piece: str, weight: float, share: float) -> str:
    """Return a piece of text, highlighted unless its weight is 0; white space stays outside."""
    text, lead = piece.lstrip(" "), piece[: len(piece) - len(piece.lstrip(" "))]
    shown = html.escape(text).replace("\n", "<br>")
    if not weight:
        return lead + shown
    colour = "0, 114, 178" if weight > 0 else "213, 94, 0"
    sign = "positive" if weight > 0 else "negative"
    style = f"background: rgba({colour}, {0.75 * abs(share):.2f}); color: inherit"
    return f'{lead}<mark class="{sign}" style="{style}" title="{weight:+.3g}">{shown}</mark>'


def _pieces(row: ArrayLike, places: Sequence[int], names: Sequence[str]) -> list[str]:
    """Return the text of each place, with the space in front that joins it to the one before."""
    words = [names[int(np.asarray(row)[place])] for place in places]
    if all(len(word) == 1 for word in words):
        return words
    marks_beginnings = any(word.startswith(_BEGINS) for word in words)
    found = []
    for number, word in enumerate(words):
        continues = word.startswith(_CONTINUES) or (marks_beginnings and not word.startswith(_BEGINS))
        plain = word.removeprefix(_CONTINUES).lstrip("".join(_BEGINS))
        found.append(plain if continues or number == 0 else f" {plain}")
    return found
