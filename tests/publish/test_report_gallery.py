"""The gallery: the strongest examples are those of a brute-force search, and pictures keep their pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from proponent.publish.report.gallery import (
    SHOWN,
    add_examples,
    choose_queries,
    find_suspicious,
    make_gallery,
)
from proponent.publish.report.shown_examples import Examples, data_uri

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 3
SCORES = RNG.standard_normal((8, 30)).astype(np.float32)


def images(n: int) -> Examples:
    return Examples(RNG.random((n, 16)), LABELS[:n], ["zero", "one", "two"], (4, 4))


def decoded(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_queries_are_of_all_labels_in_turn():
    labels = np.array([9, 9, 0, 0, 0, 1, 0, 2])
    assert choose_queries(labels, 2, 3) == [2, 5, 7]
    assert choose_queries(labels, 2, 4) == [2, 3, 5, 7]
    assert choose_queries(labels, 2) == [2, 3, 4, 5, 6, 7]
    assert choose_queries(labels.astype(np.float32), 2, 3) == [2, 3, 4]


def test_the_strongest_examples_are_those_of_a_brute_force_search():
    train, queries = images(30), images(8)
    gallery = make_gallery(train, queries, [2, 5], [("a", SCORES), ("b", -SCORES)], 10**6)
    for method, scores in (("a", SCORES), ("b", -SCORES)):
        for query, shown in zip((2, 5), gallery.strongest[method], strict=True):
            values = scores[query].tolist()
            order = sorted(range(30), key=lambda i: (-values[i], i))
            assert [entry.row for entry in shown.proponents] == [i for i in order if values[i] > 0][:SHOWN]
            assert [entry.row for entry in shown.opponents] == [i for i in order[::-1] if values[i] < 0][
                :SHOWN
            ]
            largest = max(map(abs, values))
            for entry in (*shown.proponents, *shown.opponents):
                assert entry.score == pytest.approx(values[entry.row] / largest, rel=1e-2)
                same = LABELS[entry.row] == LABELS[query]
                assert entry.surprising == (same if entry.score < 0 else not same)
    needed = {
        entry.row
        for shown in gallery.strongest.values()
        for case in shown
        for entry in (*case.proponents, *case.opponents)
    }
    assert {int(row) for row in gallery.examples} == needed
    assert all(gallery.examples[str(row)].label == train.label(row) for row in needed)


def test_methods_beyond_the_limit_are_left_out_and_the_first_is_kept():
    other = np.roll(SCORES, 7, axis=1)
    train, queries = images(30), images(8)
    assert make_gallery(train, queries, [0], [("a", SCORES), ("b", other)], 1).methods == ["a"]
    assert make_gallery(train, queries, [0], [("a", SCORES), ("b", other)], 10**6).methods == ["a", "b"]
    assert make_gallery(train, queries, [], [("a", SCORES)], 1) is None


def test_further_examples_are_added_once():
    train = images(30)
    gallery = make_gallery(train, images(8), [0], [("a", SCORES)], 10**6)
    more = add_examples(gallery, train, range(30))
    assert {int(row) for row in more.examples} == set(range(30))


def test_a_small_picture_keeps_its_pixels_and_dark_is_large():
    picture = np.linspace(0, 1, 64).reshape(8, 8)
    np.testing.assert_array_equal(decoded(data_uri(picture))[..., 0], np.round(255 * (1 - picture)))


def test_a_large_picture_becomes_smaller_and_keeps_its_colours():
    picture = np.zeros((200, 100, 3))
    picture[..., 0] = 1
    shown = decoded(data_uri(picture))
    assert shown.shape == (96, 48, 3)
    np.testing.assert_allclose(shown.mean((0, 1)), [255, 0, 0], atol=8)


def test_texts_are_words_without_padding():
    names = ["", "the", "cat", "sat"]
    x = np.array([[1, 2, 3, 0, 0], [1, 0, 3, 2, 0]])
    texts = Examples(x, np.array([0, 1]), ["a", "b"], None, names)
    assert [texts.item(row).text for row in (0, 1)] == ["the cat sat", "the  sat cat"]
    assert texts.item(0).picture == ""


def test_pieces_of_words_are_joined_and_masks_are_not_words():
    names = ["[PAD]", "play", "##ed", "the", "[SEP]"]
    x = {
        "states": np.ones((1, 3, 2)),
        "attention_mask": np.array([[1, 1, 0]]),
        "input_ids": np.array([[1, 2, 4]]),
    }
    assert Examples(x, np.array([0]), ["a"], None, names).item(0).text == "played"


def test_long_texts_are_cut_and_the_labels_of_language_models_are_left_out():
    names = ["[PAD]", *"abcdefgh"]
    x = np.ones((1, 500), dtype=np.int64)
    text = Examples(x, x, None, None, names).item(0)
    assert text.text == "a" * 300 + " …"
    assert text.label == ""


def test_a_pair_has_its_picture_and_its_text():
    x = {"image": np.random.default_rng(0).random((2, 16)), "title": np.array([[1, 2], [2, 0]])}
    shown = Examples(x, np.zeros((2, 2), dtype=np.int64), None, (4, 4), ["[PAD]", "red", "heart"]).item(0)
    assert shown.picture.startswith("data:image/webp")
    assert shown.text == "red heart"


def test_music_is_a_piano_roll_with_its_notes():
    names = ["[PAD]", "step 4", "length 2", "pitch 69", "pitch 57"]
    item = Examples(np.array([[3, 2, 1, 4, 2, 0]]), np.array([0]), ["a"], None, names).item(0)
    assert item.sound["notes"] == [[0, 69, 2], [4, 57, 2]]
    assert item.text == ""
    assert decoded(item.picture).shape[:2] == (13, 6)


def test_speech_is_a_spectrogram_with_its_bands_the_lowest_at_the_bottom():
    x = np.tile(np.linspace(0, 3, 8).repeat(4), (2, 1))
    item = Examples(x, np.array([0, 1]), ["a", "b"], (1, 8, 4), spoken=True).item(1)
    assert len(base64.b64decode(item.sound["levels"])) == 32
    assert len(item.sound["hertz"]) == 8
    assert decoded(item.picture)[:, 0, 0].tolist() == sorted(decoded(item.picture)[:, 0, 0].tolist()), (
        "the loudest, highest band is dark and above"
    )


def test_rows_of_tables_are_their_first_values_and_several_inputs_are_named():
    table = Examples(np.arange(20.0).reshape(2, 10), np.array([1.5, 2.5]), None, None)
    assert table.item(1).text == "10, 11, 12, 13, 14, 15, 16, 17, … (10 values)"
    assert (table.label(1), table.has_classes) == ("2.5", False)
    several = Examples({"left": np.ones((1, 2)), "right": np.zeros((1, 1))}, np.array([0]), None, None)
    assert several.item(0).text == "left: 1, 1; right: 0"


def test_suspicious_labels_are_in_the_order_of_the_metric():
    own = RNG.random(30)
    flipped = np.zeros(30, dtype=bool)
    flipped[np.argsort(-own)[[0, 3, 29]]] = True
    found = find_suspicious("trak", SCORES, own, flipped)
    assert found.rows == np.argsort(-own)[:24].tolist()
    assert found.found == "2 of these 24 have a flipped label; 3 of all 30 examples do."
    assert sum(found.known.values()) == 2
    constant = find_suspicious("gradcos", SCORES, np.ones(30), None)
    assert constant.order == "minus the mean score"
    assert constant.rows == np.argsort(SCORES.mean(axis=0, dtype=np.float64), kind="stable")[:24].tolist()
    assert constant.known is None
