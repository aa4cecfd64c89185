"""Pictures of emoji with their names as titles, and other pictures and titles to tell them from."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.datasets.twemoji import PACKAGE, decode, is_used
from proponent.settings.sources import fetch_package, read_member, read_members
from proponent.settings.split import Split
from proponent.settings.word_vocabulary import Vocabulary

LENGTH = 8
"""Words of a title; longer titles are cut."""
_PICTURES = "package/img/twitter/64/"
_SIDE = 16


def title_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the words of the name of an emoji, in lower case."""
    return tuple(re.findall(r"[a-z]+", str(entry["name"] or entry["short_name"]).lower()))[:LENGTH]


def titled_emoji(
    n_train: int = 1500, n_query: int = 300, others: int = 7, vocabulary: int = 600, seed: int = 0
) -> Split:
    """Return pairs of a picture and a title, each with other pictures and titles, for a contrastive loss.

    Inputs are ``image`` (n, 3, 16, 16), bytes; ``title`` (n, 8), token numbers; ``other_images`` (n, others, 3, 16, 16) and
    ``other_titles`` (n, others, 8). Labels (n, 2) are 0, the place of the partner: of the title among all titles, and of the
    picture among all pictures.

    The other pictures and titles of a pair are those of training pairs, drawn once, different from its own. They are part
    of the pair: its loss depends on nothing else, so that the training loss is a sum over pairs, and a pair that is left out
    of a training may remain among the others of another pair.

    Args:
        n_train: number of training examples.
        n_query: number of queries, which are other emoji.
        others: number of other pictures and titles.
        vocabulary: number of different tokens.
        seed: seed of the choice of queries, of the order and of the others.

    Raises:
        UserError: there are not as many emoji, the package cannot be had, or pillow is not installed.
    """
    archive = fetch_package(PACKAGE)
    emoji = [entry for entry in json.loads(read_member(archive, "package/emoji.json")) if is_used(entry)]
    emoji = sorted((entry for entry in emoji if title_of(entry)), key=lambda entry: str(entry["unified"]))
    if min(n_query, n_train - others, others) < 1 or n_train + n_query > len(emoji):
        raise UserError(
            f"dataset.args: n_train, n_query and others must be positive, others below n_train, and n_train + n_query at "
            f"most {len(emoji)}"
        )
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(emoji))[: n_train + n_query]
    names = {_PICTURES + emoji[row]["image"]: place for place, row in enumerate(rows)}
    images = np.empty((len(rows), 3, _SIDE, _SIDE), np.uint8)
    for name, content in read_members(archive, lambda name: name in names):
        images[names[name]] = _smaller(decode(content))
    known = Vocabulary.of((title_of(emoji[row]) for row in rows[:n_train]), vocabulary)
    titles = known.rows([title_of(emoji[row]) for row in rows], LENGTH)
    # A number from 0 to n_train - 2 skips the pair itself; of a query, it skips the last training pair.
    drawn = np.stack([generator.choice(n_train - 1, others, replace=False) for _ in rows])
    partners = drawn + (drawn >= np.arange(len(rows))[:, None])

    def part(some: slice) -> dict[str, NDArray[Any]]:
        return {
            "image": images[some],
            "title": titles[some],
            "other_images": images[partners[some]],
            "other_titles": titles[partners[some]],
            "y": np.zeros((len(rows[some]), 2), np.int64),
        }

    return Split(
        train=part(slice(n_train)),
        query=part(slice(n_train, None)),
        image_shape=(3, _SIDE, _SIDE),
        card="twemoji",
        token_names=known.names,
    )


def _smaller(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture (3, 32, 32) in [0, 1] as bytes, averaged over squares of 2 × 2 pixels."""
    pixels = picture.reshape(3, _SIDE, 2, _SIDE, 2).mean((2, 4)) * 255
    return pixels.round().astype(np.uint8)
