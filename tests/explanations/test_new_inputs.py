"""Queries from image files, texts, tables and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from proponent.errors import UserError
from proponent.rows import NamedRows
from proponent.settings.docstrings import WordTokenizer
from proponent.settings.word_vocabulary import PADDING, UNKNOWN
from proponent.trained.new_inputs import image_query, table_query, tensor_query, text_query

DRAWS = np.random.default_rng(0)


def saved(tmp_path, pixels: np.ndarray):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (6, 5, 1)])
def test_a_grey_image_in_the_range_of_the_training_set(tmp_path, shape):
    pixels = DRAWS.integers(0, 256, (6, 5)).astype(np.uint8)
    train = torch.linspace(-2, 3, 4 * 30).reshape(4, 30)
    x, y = image_query(saved(tmp_path, pixels), train, shape)
    assert y is None
    torch.testing.assert_close(x, torch.from_numpy(-2 + pixels.reshape(1, 30) / 255 * 5).float())


def test_each_channel_has_its_own_range(tmp_path):
    pixels = DRAWS.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    low, high = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 5.0, 3.0])
    train = torch.stack([low, high])[:, :, None, None].expand(2, 3, 5, 6)
    x, _ = image_query(saved(tmp_path, pixels), train, (3, 5, 6))
    expected = (
        low.numpy()[:, None, None] + np.moveaxis(pixels, -1, 0) / 255 * (high - low).numpy()[:, None, None]
    )
    np.testing.assert_allclose(x[0], expected, rtol=1e-6)
    last, _ = image_query(saved(tmp_path, pixels), train.permute(0, 2, 3, 1), (5, 6, 3))
    np.testing.assert_allclose(last[0], np.moveaxis(expected, 0, -1), rtol=1e-6)


def test_bytes_stay_bytes_and_images_are_resized_and_converted(tmp_path):
    pixels = np.full((9, 7, 3), 40, dtype=np.uint8)
    train = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    x, _ = image_query(saved(tmp_path, pixels), train, (1, 4, 4))
    assert x.dtype == torch.uint8
    assert x.shape == (1, 1, 4, 4)
    assert set(x.flatten().tolist()) == {40}


TOKENIZER = WordTokenizer(["add", "the", "numbers"], length=5)


def test_a_text_becomes_tokens_and_back():
    x, _ = text_query("Add the big numbers", torch.ones(3, 5, dtype=torch.long), TOKENIZER)
    assert x.tolist() == [[2, 3, UNKNOWN, 4, PADDING]]
    assert TOKENIZER.convert_ids_to_tokens(x[0].tolist()) == ["add", "the", "…", "numbers", ""]


def test_a_text_for_a_model_with_a_mask_is_cut_to_its_length():
    ones = torch.ones(3, 4, dtype=torch.long)
    train = NamedRows({"attention_mask": ones, "input_ids": ones})
    x, _ = text_query("", train, lambda text: {"input_ids": [5, 6], "attention_mask": [1, 1], "other": [0]})
    assert {name: value.tolist() for name, value in x.items()} == {
        "attention_mask": [[1, 1, 0, 0]],
        "input_ids": [[5, 6, 0, 0]],
    }


def test_the_rows_of_a_table(tmp_path):
    path = tmp_path / "queries.csv"
    path.write_text("a,label,b\n1,2,3\n4,0,6\n")
    x, y = table_query(path, torch.zeros(5, 2))
    assert x.tolist() == [[1, 3], [4, 6]]
    assert y.tolist() == [2, 0]
    path.write_text("a,b\n1,3\n")
    assert table_query(path, torch.zeros(5, 2))[1] is None


def test_tensors_by_name_with_or_without_an_axis_of_rows(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.arange(3.0), "y": torch.tensor(1)}, path)
    x, y = tensor_query(path, torch.zeros(5, 3))
    assert x.tolist() == [[0, 1, 2]]
    assert y.tolist() == [1]
    save_file({"x0": torch.ones(2, 3), "x1": torch.ones(2, 4)}, path)
    train = NamedRows({"x0": torch.zeros(5, 3), "x1": torch.zeros(5, 4)}, positional=True)
    x, y = tensor_query(path, train)
    assert [part.shape for part in x] == [(2, 3), (2, 4)]
    assert y is None


@pytest.mark.parametrize(
    ("give", "match"),
    [
        (lambda p: image_query(p, torch.zeros(2, 3), None), "this setting has no images"),
        (lambda p: image_query(p, torch.zeros(2, 4), (2, 2)), "cannot be read as an image"),
        (lambda p: table_query(p, torch.zeros(2, 4)), "columns apart from the label; give rows of 4"),
        (lambda p: tensor_query(p, torch.zeros(2, 4)), "not a safetensors file|safetensors"),
        (
            lambda p: text_query("a", torch.zeros(2, 4), lambda text: [1]),
            "the tokenizer must return a mapping",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, give, match):
    path = tmp_path / "file"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=match):
        give(path)
