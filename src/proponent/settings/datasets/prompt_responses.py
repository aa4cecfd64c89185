"""Prompts and responses for fine-tuning language models, with the truths of DATE-LM (Jiao et al., 2025) if there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.datasets.drawn_records import draw
from proponent.settings.datasets.record_files import Record, read_records
from proponent.settings.pretrained_models import token_names, tokenizer_of
from proponent.settings.ragged_rows import IGNORED
from proponent.settings.split import Split


def prompt_responses(
    train: str,
    query: str,
    tokenizer: str,
    length: int = 256,
    truth: Literal["none", "unsafe", "counterfact", "facts"] = "none",
    n_train: int | None = None,
    n_query: int | None = None,
    seed: int = 0,
) -> Split:
    """Return prompts with their responses as tokens, and the tokens of the response as labels.

    A record has ``prompt`` and ``response``, or ``messages`` (the dialogues of Tulu 3), of which the last one is the
    response. Positions of the prompt and of padding have the label -100.

    Args:
        train: file of training examples (:func:`~proponent.settings.datasets.record_files.read_records`).
        query: file of queries.
        tokenizer: folder of the pretrained model whose tokenizer is used.
        length: tokens per example. Longer prompts lose their beginning, so that the response is kept.
        truth: ``unsafe`` for records whose ``type`` is ``Unsafe`` (toxicity and bias; the truth ``shortcut``);
            ``counterfact`` for records with the same ``counterfactual_entity`` and ``true_entity``, and ``facts`` for
            records whose list ``facts`` has the first fact of the query (the truth ``fact``).
        n_train: number of training examples; None for all.
        n_query: number of queries; None for all.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a file cannot be read, lacks a name, or there are not as many records.
    """
    needed = _NEEDED[truth]
    chosen = tokenizer_of(tokenizer)
    parts = draw(read_records(train, needed), read_records(query, needed), n_train, n_query, seed)
    return Split(
        train=_rows(parts[0], chosen, length),
        query=_rows(parts[1], chosen, length),
        card="prompt-responses",
        token_names=token_names(chosen),
        truth=_truth(truth, *parts),
    )


_NEEDED: dict[str, Sequence[str]] = {
    "none": (),
    "unsafe": ("type",),
    "counterfact": ("counterfactual_entity", "true_entity"),
    "facts": ("facts",),
}
"""Names that a record needs for each truth."""


def _rows(records: Sequence[Record], tokenizer: Any, length: int) -> dict[str, NDArray[np.int64]]:
    """Return tokens, mask and the tokens that follow, of which those of the response count."""
    ids = np.full((len(records), length), tokenizer.pad_token_id)
    mask = np.zeros_like(ids)
    y = np.full_like(ids, IGNORED)
    for row, record in enumerate(records):
        prompt, response = prompt_and_response(record)
        answer = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id][
            : length - 1
        ]
        before = tokenizer(prompt)["input_ids"][-(length - len(answer)) :]
        if not before:
            raise UserError(f"record {row} has an empty prompt; remove it")
        tokens = [*before, *answer]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        y[row, len(before) - 1 : len(tokens) - 1] = answer
    return {"input_ids": ids, "attention_mask": mask, "y": y}


def prompt_and_response(record: Record) -> tuple[str, str]:
    """Return the prompt and the response of a record.

    Raises:
        UserError: it has neither ``prompt`` and ``response`` nor ``messages``.
    """
    if "prompt" in record and "response" in record:
        return str(record["prompt"]), str(record["response"])
    messages = record.get("messages")
    if not messages:
        raise UserError(f"a record needs prompt and response, or messages; its names are {', '.join(record)}")
    turns = [f"<|{message['role']}|>\n{message['content']}\n" for message in messages[:-1]]
    return "".join(turns) + f"<|{messages[-1]['role']}|>\n", str(messages[-1]["content"])


def _truth(kind: str, train: Sequence[Record], query: Sequence[Record]) -> dict[str, NDArray[Any]] | None:
    """Return what is known about the records, as in :class:`~proponent.settings.Split`."""
    if kind == "none":
        return None
    if kind == "unsafe":
        flags = [np.array([record["type"] == "Unsafe" for record in part]) for part in (train, query)]
        return {"shortcut": flags[0], "shortcut_queries": flags[1]}
    if kind == "counterfact":
        keys = [[(r["counterfactual_entity"], r["true_entity"]) for r in part] for part in (train, query)]
        number = {key: place for place, key in enumerate(dict.fromkeys([*keys[0], *keys[1]]))}
        found = [np.array([number[key] for key in part]) for part in keys]
        return {"fact": found[0], "fact_queries": found[1]}
    return facts_truth([record["facts"] for record in train], [record["facts"][0] for record in query])


def facts_truth(stated: Sequence[Sequence[str]], asked: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return the truth ``fact``: the number of the fact that a query asks for, and that an example states.

    Args:
        stated: facts of each training example. Of several that are asked for, the first one counts; -1 stands for none.
        asked: fact of each query.
    """
    number = {fact: place for place, fact in enumerate(dict.fromkeys(asked))}
    return {
        "fact": np.array([next((number[fact] for fact in facts if fact in number), -1) for facts in stated]),
        "fact_queries": np.array([number[fact] for fact in asked]),
    }
