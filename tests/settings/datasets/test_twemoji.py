"""Twemoji from its npm package, and from a small package of the same format."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from archive_writers import place_package
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import twemoji as module
from proponent.settings.datasets.twemoji import CATEGORIES, PACKAGE, decode, label_of, pictures_of, twemoji
from proponent.settings.sources import Registry, fetch_package, read_member, read_members
from registry_data import need_package


@pytest.mark.slow
def test_the_card_has_the_digest_and_the_counts_of_the_data():
    need_package(PACKAGE)
    archive, card = fetch_package(PACKAGE), read_card("twemoji")
    assert (card.sha256, card.package) == (PACKAGE.sha256, str(PACKAGE))
    emoji = [e for e in json.loads(read_member(archive, "package/emoji.json")) if module.is_used(e)]
    names = {name: label_of(entry) for entry in emoji for name in pictures_of(entry)}
    contents = {
        name.rpartition("/")[2]: content
        for name, content in read_members(archive, lambda name: "/64/" in name)
        if name.rpartition("/")[2] in names
    }
    digests = Counter(hashlib.sha256(decode(content).tobytes()).digest() for content in contents.values())
    assert card.counts == {
        "pictures": len(contents),
        "emoji": len(emoji),
        "classes": len(CATEGORIES),
        **{CATEGORIES[label]: count for label, count in Counter(names.values()).items()},
        "pictures equal to another one": sum(count for count in digests.values() if count > 1),
    }


def png(pixels: np.ndarray, mode: str = "RGBA") -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels, "RGBA")
    (picture.quantize(4) if mode == "P" else picture).save(stream, "PNG")
    return stream.getvalue()


def plain_picture(number: int) -> np.ndarray:
    """Return an opaque picture whose red part tells its number."""
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[..., 0] = number
    return pixels


def test_a_picture_is_composed_on_white_and_averaged_over_squares():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :, :] = [255, 0, 51, 255]  # opaque above, transparent black below
    pixels[0, 0, 3] = 0
    found = decode(png(pixels))
    assert found.shape == (3, 32, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 1, 1], [1, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(found[:, 20, 3], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 0], [1, 0.25, 0.4], atol=1e-6)  # one of its four pixels is white


def test_a_picture_with_a_palette_is_read_like_one_without():
    pixels = plain_picture(200)
    np.testing.assert_allclose(decode(png(pixels, "P")), decode(png(pixels)), atol=0.02)


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """Place a package of 12 emoji, of which the second half has two skin tones, where the real one would be."""
    entries, files = [], {}
    for number in range(12):
        tones = range(1, 3) if number >= 6 else range(0)
        pictures = {tone: f"{number}-{tone}.png" for tone in (0, *tones)}
        for tone, name in pictures.items():
            files[f"package/img/twitter/64/{name}"] = png(plain_picture(10 * number + tone))
        entries.append(
            {
                "unified": f"{number:02d}",
                "image": pictures[0],
                "category": "Flags" if number < 6 else "People & Body",
                "has_img_twitter": True,
                "skin_variations": {
                    f"T{tone}": {"image": pictures[tone], "has_img_twitter": True} for tone in tones
                },
            }
        )
    entries.append({**entries[0], "unified": "99", "category": "Component"})
    entries.append({**entries[0], "unified": "98", "has_img_twitter": False})
    files["package/emoji.json"] = json.dumps(entries).encode()
    place_package(module, Registry.npm, files, tmp_path, monkeypatch)


def test_a_picture_of_a_query_is_not_trained_on_under_the_name_of_another_emoji(small_package, monkeypatch):
    """The pictures of the six flags are all the same."""
    monkeypatch.setattr(module, "decode", lambda content: decode(content).clip(min=60 / 255))
    for seed in range(3):
        split = twemoji(n_train=5, n_query=4, seed=seed)
        asked = {x.tobytes() for x in split.query[0]}
        assert not asked & {x.tobytes() for x in split.train[0]}


def numbers_of(x: np.ndarray) -> list[int]:
    return [round(value * 255) for value in x[:, 0, 0, 0]]


def test_queries_have_no_skin_tone_and_no_picture_of_their_emoji_is_trained_on(small_package):
    split = twemoji(n_train=12, n_query=4)
    queries, training = numbers_of(split.query[0]), numbers_of(split.train[0])
    assert all(number % 10 == 0 for number in queries)
    assert not {number // 10 for number in queries} & {number // 10 for number in training}
    assert len(set(queries)) == 4 and len(set(training)) == 12
    for numbers, labels in ((queries, split.query[1]), (training, split.train[1])):
        wanted = ["Flags" if number < 60 else "People & Body" for number in numbers]
        assert [split.class_names[label] for label in labels] == wanted
    assert any(number % 10 for number in training), "skin tones are training examples"
    assert numbers_of(twemoji(12, 4, seed=1).train[0]) != training


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n_query": 12}, "dataset.args.n_query must lie between 1 and 11, not 12"),
        ({"n_train": 99}, "dataset.args.n_train must lie between 1 and "),
    ],
)
def test_mistakes_are_named(small_package, arguments, message):
    with pytest.raises(UserError) as error:
        twemoji(**{"n_train": 5, "n_query": 4} | arguments)
    assert message in str(error.value)
