"""Heat maps of the gallery: colours and strengths of overlays, weights of words, and the limit of their size."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from proponent.publish.report.gallery import make_gallery
from proponent.publish.report.heat_maps import ExplainedPairs, add_heat, overlay
from proponent.publish.report.page import Origins, render, render_gallery
from proponent.publish.report.section import Section
from proponent.publish.report.shown_examples import Examples

RNG = np.random.default_rng(0)
LABELS = np.arange(10) % 2


def pixels(address: str) -> np.ndarray:
    head, _, content = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA")).astype(int)


def test_blue_raises_vermilion_lowers_and_nothing_is_transparent():
    values = np.array([[1.0, -1.0, 0.0], [0.5, -0.5, 0.01]])
    drawn = pixels(overlay(values))
    assert drawn.shape == (2, 3, 4)
    assert drawn[0, 0].tolist() == [0, 114, 178, 215]
    assert drawn[0, 1].tolist() == [213, 94, 0, 215]
    assert drawn[0, 2, 3] == drawn[1, 2, 3] == 0
    assert 100 <= drawn[1, 0, 3] <= 130 and drawn[1, 0, 3] == drawn[1, 1, 3]


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_a_map_without_contributions_is_transparent(values):
    assert (pixels(overlay(values))[..., 3] == 0).all()


def test_an_overlay_is_small():
    assert len(overlay(RNG.standard_normal((28, 28)))) < 800


def pictures(n: int) -> Examples:
    return Examples(RNG.random((n, 16)), LABELS[:n], ["zero", "one"], (4, 4))


def pairs_of(gallery, method: str, shape: tuple[int, ...]) -> ExplainedPairs:
    """Return contributions of the first proponent of each query."""
    cases = zip(gallery.queries, gallery.strongest[method], strict=True)
    pairs = np.array([[query.row, case.proponents[0].row] for query, case in cases])
    return ExplainedPairs(pairs, RNG.random((len(pairs), *shape)), RNG.random((len(pairs), *shape)))


def test_only_explained_pairs_have_heat_maps_of_both_sides():
    scores = RNG.standard_normal((4, 10))
    train, queries = pictures(10), pictures(4)
    gallery = make_gallery(train, queries, [1, 3], [("a", scores), ("b", -scores)], 10**6)
    pairs = pairs_of(gallery, "a", (4, 4))
    found = add_heat(gallery, train, queries, [("a", pairs), ("unknown", pairs)], 10**6)
    assert found.strongest["b"] == gallery.strongest["b"]
    for place, case in enumerate(found.strongest["a"]):
        first, *others = case.proponents
        assert first.heat == (overlay(pairs.query[place]), overlay(pairs.train[place]))
        assert all(entry.heat is None for entry in (*others, *case.opponents))
    assert found.examples == gallery.examples


def test_methods_beyond_the_limit_have_no_heat_maps_but_the_first_one_has():
    scores = RNG.standard_normal((4, 10))
    train, queries = pictures(10), pictures(4)
    gallery = make_gallery(train, queries, [1, 3], [("a", scores), ("b", -scores)], 10**6)
    both = [(method, pairs_of(gallery, method, (4, 4))) for method in ("a", "b")]
    found = add_heat(gallery, train, queries, both, 1)
    assert found.strongest["a"][0].proponents[0].heat is not None
    assert found.strongest["b"] == gallery.strongest["b"]


def test_words_have_weights_and_padding_has_none():
    names = ["[PAD]", "we", "play", "##ed"]
    x = np.array([[1, 2, 3, 0]] * 10)
    texts = Examples(x, LABELS, ["zero", "one"], None, names)
    gallery = make_gallery(texts, texts, [2], [("a", RNG.standard_normal((10, 10)))], 10**6)
    row = gallery.strongest["a"][0].proponents[0].row
    pairs = ExplainedPairs(
        np.array([[2, row]]), np.array([[2.0, -1.0, 0.5, 9.0]]), np.array([[0.0, 0.0, -3.0, 0.0]])
    )
    found = add_heat(gallery, texts, texts, [("a", pairs)], 10**6)
    first = found.strongest["a"][0].proponents[0]
    assert first.weights == ([100, -50, 25], [0, 0, -100])
    assert found.queries[0].pieces == ["we", " play", "ed"]
    assert found.examples[str(row)].text == "we played"


def test_the_lowest_band_of_speech_is_at_the_bottom():
    values = np.zeros((1, 4, 4))
    values[0, 0] = 1  # the lowest band
    spoken = Examples(RNG.random((10, 16)), LABELS, ["zero", "one"], (1, 4, 4), None, spoken=True)
    gallery = make_gallery(spoken, spoken, [0], [("a", RNG.standard_normal((10, 10)))], 10**6)
    row = gallery.strongest["a"][0].proponents[0].row
    found = add_heat(
        gallery, spoken, spoken, [("a", ExplainedPairs(np.array([[0, row]]), values, values))], 10**6
    )
    drawn = pixels(found.strongest["a"][0].proponents[0].heat[1])
    assert drawn[:, 0, 3].tolist() == [0, 0, 0, 215]


def section_with(gallery) -> Section:
    return Section("s", gallery=json.loads(json.dumps(asdict(gallery))))


def test_the_gallery_of_one_method_has_the_heat_maps_of_pictures_and_the_marks_of_words():
    scores = RNG.standard_normal((4, 10))
    train, queries = pictures(10), pictures(4)
    gallery = make_gallery(train, queries, [1, 3], [("a", scores)], 10**6)
    pairs = pairs_of(gallery, "a", (4, 4))
    page = render_gallery(section_with(add_heat(gallery, train, queries, [("a", pairs)], 10**6)), "a")
    for place in range(2):
        for side in (pairs.query, pairs.train):
            assert overlay(side[place]) in page
    assert page.count('class="heat"') == 4
    texts = Examples(np.array([[1, 2]] * 10), LABELS, ["zero", "one"], None, ["[PAD]", "<b>", "cat"])
    gallery = make_gallery(texts, texts, [2], [("a", scores)], 10**6)
    row = gallery.strongest["a"][0].proponents[0].row
    pairs = ExplainedPairs(np.array([[2, row]]), np.array([[1.0, 0.0]]), np.array([[0.0, -1.0]]))
    page = render_gallery(section_with(add_heat(gallery, texts, texts, [("a", pairs)], 10**6)), "a")
    assert '<mark class="raises" style="--share: 50%" title="+100 %">&lt;b&gt;</mark> cat' in page
    assert '&lt;b&gt;<mark class="lowers" style="--share: 50%" title="-100 %"> cat</mark>' in page


@pytest.mark.slow
def test_the_page_has_no_empty_parts_of_examples():
    scores = RNG.standard_normal((4, 10))
    train, queries = pictures(10), pictures(4)
    gallery = make_gallery(train, queries, [1], [("a", scores)], 10**6)
    text = render([section_with(gallery)], None, {}, Origins("1", "c", "now", "here", {}, {}))
    data = json.loads(text.partition('id="report-data">')[2].partition("</script>")[0])
    own = data["settings"]["s"]["gallery"]
    assert set(own["queries"][0]) == {"row", "label", "picture"}
    assert {name for entry in own["strongest"]["a"][0]["opponents"] for name in entry} <= {
        *("row", "score", "surprising")
    }
