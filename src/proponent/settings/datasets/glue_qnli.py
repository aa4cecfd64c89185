"""QNLI of GLUE (Wang et al., 2019): whether a sentence answers a question."""

from __future__ import annotations

from typing import Any

import numpy as np

from proponent.errors import UserError
from proponent.settings.datasets.drawn_records import draw
from proponent.settings.datasets.record_files import Record, read_records
from proponent.settings.pretrained_models import token_names, tokenizer_of
from proponent.settings.split import Split

CLASSES = ["entailment", "not_entailment"]


def qnli(
    train: str,
    query: str,
    tokenizer: str,
    length: int = 128,
    n_train: int | None = None,
    n_query: int | None = None,
    seed: int = 0,
) -> Split:
    """Return pairs of a question and a sentence as tokens, and whether the sentence answers the question.

    Args:
        train: ``train.tsv`` of ``QNLIv2.zip``, or the Parquet file of Hugging Face.
        query: ``dev.tsv``, or the Parquet file of the validation part; the test part has no labels.
        tokenizer: folder of the pretrained model whose tokenizer is used.
        length: tokens per pair; longer pairs are cut, and shorter ones padded.
        n_train: number of training examples; None for all (TRAK's experiments use 50,000).
        n_query: number of queries; None for all.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a file cannot be read, a label is unknown, or there are not as many pairs.
    """
    needed = ["question", "sentence", "label"]
    chosen = tokenizer_of(tokenizer)
    parts = draw(read_records(train, needed), read_records(query, needed), n_train, n_query, seed)

    def rows(records: list[Record]) -> dict[str, Any]:
        questions, sentences = (
            [str(record[name]) for record in records] for name in ("question", "sentence")
        )
        options = {"truncation": True, "max_length": length, "padding": "max_length", "return_tensors": "np"}
        found = chosen(questions, sentences, **options)
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = {name: np.asarray(found[name], np.int64) for name in names if name in found}
        return {**inputs, "y": np.array([_label(record["label"]) for record in records])}

    return Split(
        train=rows(parts[0]),
        query=rows(parts[1]),
        class_names=CLASSES,
        card="qnli",
        token_names=token_names(chosen),
    )


def _label(label: Any) -> int:
    """Return the number of a label, which Parquet files have as a number and tables as a word."""
    if label in CLASSES:
        return CLASSES.index(label)
    if label in (0, 1):
        return int(label)
    raise UserError(
        f"QNLI: unknown label {label!r}; give the training and the development part, which have labels"
    )
