"""Pages of queries: pictures and colours mean what they say, and the page loads nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from proponent.explanations.explained_scores import explain_scores
from proponent.explanations.explanation_tables import PairExplanation
from proponent.explanations.feature_attribution import FeatureAttribution
from proponent.finished_results import Results
from proponent.publish.png_pictures import data_uri, heat_map, png_bytes, token_colours
from proponent.publish.query_page import Card, QueryPage, Section, Word, render_page
from proponent.query_view import QueryView

DRAWS = np.random.default_rng(0)


def test_a_picture_is_kept_by_png():
    picture = DRAWS.random((5, 4, 3))
    found = np.asarray(Image.open(io.BytesIO(png_bytes(picture))))
    np.testing.assert_array_equal(found, (picture * 255).round())
    assert base64.b64decode(data_uri(b"content").partition(",")[2]) == b"content"


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 3, 1)])
def test_blue_raises_the_score_and_vermilion_lowers_it(shape):
    colours = heat_map(np.array([4.0, -4.0, 0.0, 2.0, -1.0, 0.0]).reshape(shape), shape)
    red, _, blue = np.moveaxis(colours, -1, 0)
    assert blue[0, 0] > red[0, 0]
    assert red[0, 1] > blue[0, 1]
    assert (colours[0, 2] == 1).all()
    assert colours[1, 0].sum() > colours[0, 0].sum()  # half the contribution is paler


def test_channels_are_summed():
    values = np.stack([np.full((6, 5), 2.0), np.full((6, 5), -3.0), np.full((6, 5), 2.0)])
    expected = heat_map(np.ones((6, 5)), (6, 5))
    np.testing.assert_allclose(heat_map(values, (3, 6, 5)), expected)
    np.testing.assert_allclose(heat_map(np.moveaxis(values, 0, -1), (6, 5, 3)), expected)


def test_the_strength_of_a_word_is_relative_to_the_largest():
    strong, weak, none = token_colours(np.array([-2.0, 1.0, 0.0]))
    assert strong == "rgba(213, 94, 0, 0.75)"
    assert weak == "rgba(0, 114, 178, 0.38)"
    assert none.endswith("0.00)")


def page(**changes) -> QueryPage:
    card = Card("query 1", "a <b>label</b>", words=[Word("x < y"), Word("word", "rgba(0, 0, 0, 0.10)")])
    values = {"predicted": "b", "facts": ["a fact"], "sections": [Section("Proponents", "A note.", [])]}
    return QueryPage("setting", "method", card, **{**values, **changes})


def test_texts_are_escaped_and_nothing_is_loaded():
    html = render_page([page()])
    assert "a &lt;b&gt;label&lt;/b&gt;" in html
    assert "x &lt; y" in html
    assert "The model predicts b." in html
    assert "None." in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "http" not in html


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Images of 3 x 4 pixels, without a run."""
    folder = tmp_path / "results/pictures/data"
    folder.mkdir(parents=True)
    x = torch.from_numpy(DRAWS.random((6, 12)))
    save_file({"x": x, "y": torch.arange(6) % 2}, folder / "train.safetensors")
    save_file({"x": x[:2], "y": torch.tensor([0, 1])}, folder / "query.safetensors")
    described = {"class_names": ["even", "odd"], "image_shape": [3, 4], "n_tune": 1}
    (folder / "description.json").write_text(json.dumps(described))
    return Results(tmp_path / "results/pictures")


def test_cards_show_pictures_and_frame_surprises(results, tmp_path):
    x, y = results.rows()
    scores = np.array([[3.0, 2.0, -1.0, -4.0, 0.0, 0.0]])
    (found,) = explain_scores(scores, 2, classes=y.numpy(), labels=np.array([0]), predicted=np.array([1]))
    view = QueryView(results, "graddot", x, ["query 0"])
    heat = FeatureAttribution(torch.arange(12.0), 3.0, 0.0)
    shown = view.page(found, {0: PairExplanation(0, heat, heat)})
    assert shown.predicted == "odd"
    assert shown.query.label == "label even"
    proponents, opponents, same = shown.sections
    assert [(card.name, card.label, card.surprising) for card in proponents.cards] == [
        ("train 0", "even", False),
        ("train 1", "odd", True),
    ]
    assert [card.surprising for card in opponents.cards] == [False, True]
    assert [card.bar for card in opponents.cards] == [-1.0, -0.25]
    assert len(same.cards) == 2
    assert [len(card.heat_maps) for card in proponents.cards] == [2, 0]
    html = render_page([shown])
    assert html.count('<img src="data:image/png') == 9
    assert html.count("alt=") == 9
    table = view.table(found, tmp_path / "images")
    assert table.row_count == 6
    assert (tmp_path / "images/train-3.png").exists()
