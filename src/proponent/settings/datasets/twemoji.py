"""Twemoji: colour pictures of emoji with their categories, from a package of npm."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from proponent.errors import UserError
from proponent.extras import how_to_install
from proponent.settings.sources import Package, Registry, fetch_package, read_member, read_members
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.npm,
    "emoji-datasource-twitter",
    "16.0.0",
    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
)
CATEGORIES = [
    *("Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places"),
    *("Activities", "Objects", "Symbols", "Flags"),
]
"""Names of the labels, in the order of Unicode; ``Component`` (five skin tones) is left out."""
_PICTURES = "package/img/twitter/64/"
_SIDE = 32


def twemoji(n_train: int = 2800, n_query: int = 400, seed: int = 0) -> Split:
    """Return pictures of emoji (3, 32, 32) on white, in [0, 1], with their categories.

    A query is the picture of an emoji without a skin tone, and no picture of the same emoji is a training example. The
    training examples are the pictures of the other emoji, in every skin tone, without those that are equal to a query:
    some emoji share a picture.

    Args:
        n_train: number of training examples.
        n_query: number of queries, below the number of emoji.
        seed: seed of the choice of queries and of the order.

    Raises:
        UserError: there are not as many pictures, the package cannot be had, or pillow is not installed.
    """
    archive = fetch_package(PACKAGE)
    emoji = [entry for entry in json.loads(read_member(archive, "package/emoji.json")) if is_used(entry)]
    emoji.sort(key=lambda entry: str(entry["unified"]))
    if not 0 < n_query < len(emoji):
        raise UserError(f"dataset.args.n_query must lie between 1 and {len(emoji) - 1}, not {n_query}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(emoji))
    queries = [(emoji[row]["image"], label_of(emoji[row])) for row in order[:n_query]]
    pictures = {name: decode(content) for name, content in read_members(archive, _is_picture)}
    asked = {pictures[_PICTURES + name].tobytes() for name, _ in queries}
    others = [
        (name, label_of(emoji[row]))
        for row in order[n_query:]
        for name in pictures_of(emoji[row])
        if pictures[_PICTURES + name].tobytes() not in asked
    ]
    if not 0 < n_train <= len(others):
        raise UserError(f"dataset.args.n_train must lie between 1 and {len(others)}, not {n_train}")
    train = [others[row] for row in generator.permutation(len(others))[:n_train]]
    return Split(
        train=_arrays(train, pictures),
        query=_arrays(queries, pictures),
        class_names=CATEGORIES,
        image_shape=(3, _SIDE, _SIDE),
        card="twemoji",
    )


def is_used(entry: dict[str, Any]) -> bool:
    """Return whether an entry of ``emoji.json`` has a picture here and one of the categories."""
    return bool(entry["has_img_twitter"]) and entry["category"] in CATEGORIES


def label_of(entry: dict[str, Any]) -> int:
    """Return the label of an emoji."""
    return CATEGORIES.index(entry["category"])


def pictures_of(entry: dict[str, Any]) -> list[str]:
    """Return the file names of an emoji's pictures: without skin tone, and in each of its skin tones."""
    tones = [tone for _, tone in sorted(entry.get("skin_variations", {}).items()) if tone["has_img_twitter"]]
    return [entry["image"], *(tone["image"] for tone in tones)]


def decode(content: bytes) -> np.ndarray:
    """Return a PNG of 64 × 64 pixels on a white ground, averaged over squares of 2 × 2 pixels.

    Args:
        content: the PNG, with transparency or a palette.

    Returns:
        (3, 32, 32) float32 in [0, 1].
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(f"Twemoji needs pillow; {how_to_install('PIL')}") from error
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255
    colour, opacity = pixels[..., :3], pixels[..., 3:]
    composed = colour * opacity + (1 - opacity)
    return composed.reshape(_SIDE, 2, _SIDE, 2, 3).mean((1, 3)).transpose(2, 0, 1)


def _is_picture(name: str) -> bool:
    return name.startswith(_PICTURES) and name.endswith(".png")


def _arrays(rows: list[tuple[str, int]], pictures: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x = np.stack([pictures[_PICTURES + name] for name, _ in rows])
    return x, np.array([label for _, label in rows])
