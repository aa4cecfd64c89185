"""The text setting: real docstrings of an installed package, with the same tokens in every environment."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import scipy
import torch

from proponent.errors import UserError
from proponent.settings.docstrings import (
    CLASSES,
    MeanOfTokens,
    docstrings,
    read_docstrings,
    tokenizer,
)
from proponent.settings.split import Arrays, check_tokens
from proponent.settings.word_vocabulary import UNKNOWN


@pytest.fixture(scope="module")
def split():
    return docstrings()


@pytest.mark.slow
def test_a_thousand_texts_of_nine_submodules(split) -> None:
    (x, y), (x_query, y_query) = split.train, split.query
    assert x.shape == (1000, 48)
    assert len(x_query) >= 200
    assert split.class_names == list(CLASSES)
    assert torch.from_numpy(y).bincount().min() >= 30
    assert torch.from_numpy(y_query).bincount(minlength=9).min() >= 20
    assert x.max() == 1999
    assert (x == UNKNOWN).mean() < 0.05


@pytest.mark.slow
def test_padding_comes_last_and_no_text_is_empty(split) -> None:
    x = torch.from_numpy(split.train[0])
    present = x != 0
    assert (present.int().diff(dim=1) <= 0).all()
    assert present.sum(1).min() >= 15


@pytest.mark.slow
def test_the_tokenizer_gives_the_tokens_of_the_examples(split) -> None:
    """Unknown words of a row stand for any word without a token."""
    made = tokenizer()
    for row in split.train[0][:50].tolist():
        words = made.convert_ids_to_tokens(row)
        text = " ".join(word if token != UNKNOWN else "zzyzx" for word, token in zip(words, row, strict=True))
        assert made(text)["input_ids"] == row


@pytest.mark.slow
def test_rows_read_as_the_texts_that_they_are(split) -> None:
    made = tokenizer()
    for row in split.train[0][:50].tolist():
        words = [split.token_names[token] for token in row]
        shown = [word.replace("[PAD]", "").replace("[UNK]", "…") for word in words]
        assert shown == made.convert_ids_to_tokens(row)


@pytest.mark.slow
def test_another_process_reads_the_same_bytes(split) -> None:
    """Neither hash seeds nor the order in which a file system lists its files matter."""
    program = (
        "import hashlib; from proponent.settings.docstrings import docstrings; s = docstrings();"
        "print(hashlib.sha256(b''.join(a.tobytes() for p in (s.train, s.query) for a in p)).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    ours = hashlib.sha256(b"".join(a.tobytes() for part in (split.train, split.query) for a in part))
    assert done.stdout.strip() == ours.hexdigest()


def test_docstrings_are_those_that_the_interpreter_sees(tmp_path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text('def shown():\n    """Left out."""\n')
    (tmp_path / "a.py").write_text(
        'class Shown:\n    """A class."""\n    def method(self):\n        """A method."""\n'
        'def _hidden():\n    """No."""\ndef bare(): pass\n'
    )
    assert list(read_docstrings(tmp_path)) == ["A class.", "A method."]
    assert scipy.linalg.solve.__doc__.split()[0] == "Solve"


@pytest.mark.slow
def test_more_training_examples_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match="n_train must lie between 1 and"):
        docstrings(n_train=100_000)


def test_the_model_does_not_see_padding() -> None:
    torch.manual_seed(0)
    model = MeanOfTokens(20, 4, 5, 3)
    short, padded = torch.tensor([[3, 7]]), torch.tensor([[3, 7, 0, 0]])
    torch.testing.assert_close(model(short), model(padded))
    assert (model(short) != model(torch.tensor([[3, 7, 1]]))).any()


@pytest.mark.parametrize(
    "x, said",
    [
        (torch.rand(3, 4), "needs token numbers .* not torch.float32"),
        (torch.tensor([[1, -1]]), "from -1"),
        (torch.ones(2, 3, 4, dtype=torch.long), "of shape"),
        (torch.tensor([[1, 2], [0, 0]]), "row 1 consists of padding .0. only"),
    ],
)
def test_rows_that_are_not_texts_are_refused(x, said) -> None:
    fine = torch.tensor([[1, 2]])
    with pytest.raises(UserError, match=f"setting mine: query.* {said}|setting mine: query.*{said}"):
        check_tokens(Arrays(fine, fine, x, x), "setting mine")
