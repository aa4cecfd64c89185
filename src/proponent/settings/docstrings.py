"""A text dataset that every environment has: scipy's docstrings, each with its submodule as the label.

They are read from the sources of the installed, locked package with :mod:`ast`, and no submodule is imported, so that
the same lock gives the same bytes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.settings.split import Split
from proponent.settings.word_vocabulary import PADDING, SPECIAL, Vocabulary

CLASSES = ("interpolate", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial", "special", "stats")
"""Submodules of scipy with fifty docstrings or more."""
_SHORTEST = 15


def docstrings(n_train: int = 1000, length: int = 48, vocabulary: int = 2000, seed: int = 0) -> Split:
    """Return the first ``length`` words of scipy's docstrings as token numbers, (n, length), and their submodules.

    The names of the submodules are left out of the text. Token 0 is padding and 1 an unknown word; the other tokens are
    the words of the training part, the most frequent first.

    Args:
        n_train: number of training examples; the other examples are queries.
        length: tokens per example; shorter texts are padded.
        vocabulary: number of different tokens.
        seed: seed of the shuffle.

    Raises:
        UserError: there are at most ``n_train`` docstrings.
    """
    texts, y, known = _ordered_texts(n_train, length, vocabulary, seed)
    x = known.rows(texts, length)
    return Split(
        train=(x[:n_train], y[:n_train]),
        query=(x[n_train:], y[n_train:]),
        class_names=list(CLASSES),
        token_names=known.names,
    )


def _ordered_texts(
    n_train: int, length: int, vocabulary: int, seed: int
) -> tuple[list[tuple[str, ...]], NDArray[np.int64], Vocabulary]:
    """Return the words and the label of each text in shuffled order, and the vocabulary."""
    import scipy  # its version becomes part of the content key

    root = Path(scipy.__file__).parent
    found: dict[tuple[str, ...], int] = {}
    for label, name in enumerate(CLASSES):
        for text in read_docstrings(root / name):
            words = words_of(text)[:length]
            if len(words) >= _SHORTEST:
                found.setdefault(words, label)
    if not 0 < n_train < len(found):
        raise UserError(f"dataset.args.n_train must lie between 1 and {len(found) - 1}, not {n_train}")
    order = np.random.default_rng(seed).permutation(len(found))
    ordered, labels = list(found), np.array(list(found.values()))
    texts = [ordered[row] for row in order]
    return texts, labels[order], Vocabulary.of(texts[:n_train], vocabulary)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower case, without the names of the submodules."""
    return tuple(word for word in re.findall(r"[a-z]+", text.lower()) if word not in CLASSES)


class WordTokenizer:
    """Words of a text as token numbers and back, with the two calls that tokenizers of transformers have.

    Args:
        known: words with tokens, from token 2 on.
        length: tokens per text; shorter texts are padded.
    """

    def __init__(self, known: list[str], length: int) -> None:
        self._words = ["", "…", *known]
        self._vocabulary = Vocabulary(known)
        self._length = length

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Return the tokens of a text as ``input_ids``."""
        return {"input_ids": self._vocabulary.rows([words_of(text)], self._length)[0].tolist()}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Return the words of tokens; padding is an empty text."""
        return [self._words[token] for token in ids]


def tokenizer(n_train: int = 1000, length: int = 48, vocabulary: int = 2000, seed: int = 0) -> WordTokenizer:
    """Return the tokenizer of :func:`docstrings` with the same arguments, for queries that are new texts."""
    known = _ordered_texts(n_train, length, vocabulary, seed)[2]
    return WordTokenizer(known.names[len(SPECIAL) :], length)


def read_docstrings(folder: Path) -> Iterator[str]:
    """Yield the docstrings of public functions and classes below ``folder``, without tests, in the order of the files."""
    for path in sorted(folder.rglob("*.py")):
        if "tests" in path.relative_to(folder).parts:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                text = ast.get_docstring(node)
                if text:
                    yield text


class MeanOfTokens(nn.Module):
    """Mean of the embeddings of an example's tokens, without padding, through one hidden layer."""

    def __init__(self, vocabulary: int, width: int, hidden: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, (n, n_classes), of token numbers (n, length)."""
        present = (tokens != PADDING).unsqueeze(-1)
        mean = (self.embedding(tokens) * present).sum(-2) / present.sum(-2)
        return self.output(torch.tanh(self.hidden(mean)))


def text_classifier(
    vocabulary: int = 2000, width: int = 32, hidden: int = 32, n_classes: int = 9
) -> nn.Module:
    """Return a small text classifier.

    Args:
        vocabulary: number of different tokens.
        width: width of the embedding.
        hidden: width of the hidden layer.
        n_classes: width of the output.
    """
    return MeanOfTokens(vocabulary, width, hidden, n_classes)
