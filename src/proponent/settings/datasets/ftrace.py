"""FTRACE (Akyürek et al., 2022): sentences of Wikipedia with a masked entity, and queries about facts that they state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.settings.datasets.drawn_records import draw
from proponent.settings.datasets.prompt_responses import facts_truth
from proponent.settings.datasets.record_files import Record, read_records
from proponent.settings.pretrained_models import token_names, tokenizer_of
from proponent.settings.ragged_rows import IGNORED
from proponent.settings.split import Split


def ftrace(
    abstracts: str,
    queries: str,
    tokenizer: str,
    length: int = 96,
    answer: int = 16,
    n_train: int | None = None,
    n_query: int | None = None,
    seed: int = 0,
) -> Split:
    """Return sentences with a masked entity for an encoder-decoder such as mT5, and the fact that each of them states.

    The truth ``fact`` has the number of the fact of each query, and of the first fact of each sentence that a query asks
    for, or -1. Queries whose fact no chosen sentence states are not left out: draw enough sentences.

    Args:
        abstracts: file or folder of the abstracts (records with ``inputs_pretokenized``, ``targets_pretokenized`` and
            ``facts``, a text ``P36,Q31,Q239;…``).
        queries: file or folder of the queries (``predicate_id``, ``sub_uri`` and ``obj_uri`` in place of ``facts``).
        tokenizer: folder of the pretrained model whose tokenizer is used.
        length: tokens per sentence.
        answer: tokens per answer.
        n_train: number of training examples; None for all.
        n_query: number of queries; None for all.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a file cannot be read, lacks a name, or there are not as many records.
    """
    texts = ["inputs_pretokenized", "targets_pretokenized"]
    chosen = tokenizer_of(tokenizer)
    train, query = draw(
        read_records(abstracts, [*texts, "facts"]),
        read_records(queries, [*texts, "predicate_id", "sub_uri", "obj_uri"]),
        n_train,
        n_query,
        seed,
    )
    asked = [
        ",".join(str(record[name]) for name in ("predicate_id", "sub_uri", "obj_uri")) for record in query
    ]
    return Split(
        train=_rows(train, chosen, length, answer),
        query=_rows(query, chosen, length, answer),
        card="ftrace",
        token_names=token_names(chosen),
        truth=facts_truth([str(record["facts"]).split(";") for record in train], asked),
    )


def _rows(
    records: Sequence[Record], tokenizer: Any, length: int, answer: int
) -> dict[str, NDArray[np.int64]]:
    """Return tokens and mask of the sentences, and tokens of the answers: those so far, and those to predict."""
    options = {"truncation": True, "padding": "max_length", "return_tensors": "np"}
    sentences = tokenizer([str(r["inputs_pretokenized"]) for r in records], max_length=length, **options)
    answers = tokenizer([str(r["targets_pretokenized"]) for r in records], max_length=answer, **options)
    ids = np.asarray(answers["input_ids"], np.int64)
    y = np.where(np.asarray(answers["attention_mask"]) == 1, ids, IGNORED)
    # T5 begins answers with the token of padding.
    before = np.concatenate([np.full_like(ids[:, :1], tokenizer.pad_token_id), ids[:, :-1]], 1)
    return {
        "input_ids": np.asarray(sentences["input_ids"], np.int64),
        "attention_mask": np.asarray(sentences["attention_mask"], np.int64),
        "decoder_input_ids": before,
        "y": y,
    }
