"""Pairs of a picture and a title, from a small package of the format of Twemoji."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from archive_writers import place_package
from proponent.errors import UserError
from proponent.settings.datasets import titled_emoji as module
from proponent.settings.datasets.titled_emoji import title_of, titled_emoji
from proponent.settings.sources import Registry


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """Place a package of 12 emoji whose red part, times ten, and title tell their number."""
    entries, files = [], {}
    for number in range(12):
        pixels = np.full((64, 64, 4), 255, np.uint8)
        pixels[..., 0] = 10 * number
        stream = io.BytesIO()
        Image.fromarray(pixels, "RGBA").save(stream, "PNG")
        files[f"package/img/twitter/64/{number}.png"] = stream.getvalue()
        name = "SIGN " + "abcdefghijkl"[number] * 2
        entry = {"unified": f"{number:02d}", "image": f"{number}.png", "name": name, "short_name": "s"}
        entries.append({**entry, "category": "Symbols", "has_img_twitter": True})
    entries.append({**entries[0], "unified": "99", "category": "Component"})
    files["package/emoji.json"] = json.dumps(entries).encode()
    place_package(module, Registry.npm, files, tmp_path, monkeypatch)


def test_titles_are_words_in_lower_case():
    assert title_of({"name": "KEYCAP: *", "short_name": "x"}) == ("keycap",)
    assert title_of({"name": None, "short_name": "man_in-hat"}) == ("man", "in", "hat")


def test_partners_fit_and_others_are_training_pairs_other_than_the_own(small_package):
    split = titled_emoji(n_train=8, n_query=3, others=4, vocabulary=100)

    def numbers(images):
        return np.round(images[..., 0, 0, 0] / 10).astype(int)

    def letters(titles):
        return np.vectorize(lambda token: split.token_names[token][0])(titles[..., 1])

    trained = set(numbers(split.train["image"]).tolist())
    assert len(trained) == 8 and not trained & set(numbers(split.query["image"]).tolist())
    for part in (split.train, split.query):
        own, others = numbers(part["image"]), numbers(part["other_images"])
        assert set(others.flatten().tolist()) <= trained
        assert all(len(set(row)) == 4 and mine not in row for mine, row in zip(own, others, strict=True))
        assert (letters(part["other_titles"]) == np.array(list("abcdefghijkl"))[others]).all()
        assert not part["y"].any() and part["y"].shape == (len(own), 2)
    assert (
        letters(split.train["title"]) == np.array(list("abcdefghijkl"))[numbers(split.train["image"])]
    ).all()
    assert split.train["image"].dtype == np.uint8 and split.image_shape == split.train["image"].shape[1:]


@pytest.mark.parametrize(
    "arguments", [{"n_train": 12, "n_query": 1}, {"n_train": 4, "n_query": 2, "others": 4}]
)
def test_too_few_emoji_are_refused(small_package, arguments):
    with pytest.raises(UserError, match="n_train, n_query and others must be positive, others below n_train"):
        titled_emoji(**arguments)
