"""MS-COCO (Lin et al., 2014): photographs with captions, and other photographs and captions to tell them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.datasets.imagenet import read_image
from proponent.settings.pretrained_models import token_names, tokenizer_of
from proponent.settings.split import Split


class Photograph(NamedTuple):
    """File of a photograph, and its first caption."""

    file: Path
    caption: str


class CaptionedPairs:
    """Pairs whose photographs are read one row at a time: rows of a dictionary and the labels (0, 0).

    Args:
        own: photographs of the pairs.
        pool: photographs from which the others are drawn.
        partners: numbers of the others in the pool, (n, K).
        titles: tokens of the captions of the pairs, (n, length).
        pool_titles: tokens of the captions of the pool.
        size: side of the square photographs, in pixels.
    """

    def __init__(
        self,
        own: list[Photograph],
        pool: list[Photograph],
        partners: NDArray[np.int64],
        titles: NDArray[np.int64],
        pool_titles: NDArray[np.int64],
        size: int,
    ) -> None:
        self._own, self._pool, self._partners = own, pool, partners
        self._titles, self._pool_titles, self._size = titles, pool_titles, size

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._own)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a pair with its others, and its labels."""
        others = self._partners[index]
        return {
            "image": read_image(self._own[index].file, self._size),
            "title": self._titles[index],
            "other_images": np.stack([read_image(self._pool[other].file, self._size) for other in others]),
            "other_titles": self._pool_titles[others],
            "y": np.zeros(2, np.int64),
        }


def read_captions(annotations: str, images: str) -> list[Photograph]:
    """Return the photographs of a part with the caption of the lowest number, in the order of their own numbers.

    Args:
        annotations: ``captions_train2017.json`` or ``captions_val2017.json``.
        images: folder of the photographs.

    Raises:
        UserError: the file does not exist, or is not one of captions.
    """
    try:
        content = json.loads(Path(annotations).read_text(encoding="utf-8"))
        files = {int(entry["id"]): str(entry["file_name"]) for entry in content["images"]}
        captions: dict[int, tuple[int, str]] = {}
        for entry in content["annotations"]:
            number, caption = int(entry["image_id"]), (int(entry["id"]), str(entry["caption"]).strip())
            captions[number] = min(captions.get(number, caption), caption)
    except FileNotFoundError as error:
        raise UserError(f"{annotations}: does not exist; place the captions of MS-COCO there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{annotations}: is not a file of captions of MS-COCO ({error})") from error
    return [Photograph(Path(images, files[number]), captions[number][1]) for number in sorted(captions)]


def coco_captions(
    annotations: str,
    images: str,
    tokenizer: str,
    size: int = 224,
    length: int = 32,
    others: int = 7,
    n_train: int = 5000,
    n_query: int = 500,
    seed: int = 0,
) -> Split:
    """Return photographs with captions, each with others of its own, as in :func:`.titled_emoji`.

    Args:
        annotations: captions of a part.
        images: folder of the photographs of this part.
        tokenizer: folder of the pretrained model whose tokenizer is used; its padding must be token 0, or becomes it.
        size: side of the square photographs, in pixels.
        length: tokens per caption.
        others: number of other photographs and captions.
        n_train: number of training examples.
        n_query: number of queries, which are other photographs of the same part.
        seed: seed of the draw, of the order and of the others.

    Raises:
        UserError: a file cannot be read, or there are not as many photographs.
    """
    found = read_captions(annotations, images)
    if min(n_query, n_train - others, others) < 1 or n_train + n_query > len(found):
        raise UserError(
            f"dataset.args: n_train, n_query and others must be positive, others below n_train, and n_train + n_query at "
            f"most {len(found)}"
        )
    generator = np.random.default_rng(seed)
    rows = [found[row] for row in generator.permutation(len(found))[: n_train + n_query]]
    chosen = tokenizer_of(tokenizer)
    options = {"truncation": True, "max_length": length, "padding": "max_length", "return_tensors": "np"}
    encoded = chosen([row.caption for row in rows], **options)
    titles = np.where(
        np.asarray(encoded["attention_mask"]) == 1, np.asarray(encoded["input_ids"], np.int64), 0
    )
    # A number from 0 to n_train - 2 skips the pair itself; of a query, it skips nothing that matters.
    drawn = np.stack([generator.choice(n_train - 1, others, replace=False) for _ in rows])
    partners = drawn + (drawn >= np.arange(len(rows))[:, None])

    def part(some: slice) -> CaptionedPairs:
        return CaptionedPairs(
            rows[some], rows[:n_train], partners[some], titles[some], titles[:n_train], size
        )

    return Split(
        train=part(slice(n_train)),
        query=part(slice(n_train, None)),
        image_shape=(3, size, size),
        card="coco-captions",
        token_names=token_names(chosen),
    )
