"""Examples as texts with their labels, for methods that read them with an encoder of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from proponent.config.specifications.method_specs import AttributeSpec
from proponent.config.specifications.step_inputs import AttributeInputs
from proponent.errors import UserError
from proponent.methods.shared.needs import TextStates
from proponent.publish.examples.token_text import as_text, token_input
from proponent.settings.minilm import LAYERS, PooledLayers, lower_states, tokenize
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import load_numpy_data
from proponent.store.files import read_json

_NAMES = "token_names.json"
_DECODER = "decoder_input_ids"
"""Input of models that answer a text; their labels are the tokens of answers."""


@dataclass(frozen=True)
class Texts:
    """See :class:`proponent.methods.shared.needs.Texts`."""

    train: list[str]
    query: list[str]

    def states(self, length: int, layers: int) -> dict[str, TextStates]:
        """Return ``train`` and ``query`` below the last ``layers`` layers of MiniLM, cut after ``length`` tokens."""
        found = {}
        for part, texts in (("train", self.train), ("query", self.query)):
            ids, mask, _ = tokenize(texts, length)
            states = lower_states(ids, mask, LAYERS - layers)
            found[part] = TextStates(torch.from_numpy(states), torch.from_numpy(mask))
        return found

    def upper_layers(self, layers: int) -> PooledLayers:
        """Return the last ``layers`` layers of MiniLM."""
        return PooledLayers(layers)


def read(job: Job[AttributeSpec, AttributeInputs], need: str, rows: slice) -> Texts:
    """Return the texts of the training examples and of the queries ``rows``.

    Args:
        job: job of the method.
        need: name of the need, ``texts``.
        rows: queries that are wanted.

    Raises:
        UserError: the names of the setting's tokens are unknown.
    """
    folder = job.read(job.inputs.data).parent
    reason = why_no_texts(folder)
    if reason:
        raise UserError(f"{job.spec.setting}: {job.spec.method} {reason}")
    names, classes = read_json(folder / _NAMES), read_json(folder / "description.json")["class_names"]
    data = load_numpy_data(job).with_queries(rows)
    return Texts(
        texts_of(data.x_train, data.y_train, names, classes),
        texts_of(data.x_query, data.y_query, names, classes),
    )


def why_no_texts(folder: Path) -> str | None:
    """Return why the examples below a setting's ``data/`` cannot be read as texts, without a subject; None if they can."""
    if (folder / _NAMES).is_file():
        return None
    return (
        "reads texts, and the tokens of the setting have no names; give them as token_names of the dataset's Split "
        "(docs/adding-a-setting.md)"
    )


def texts_of(x: Any, y: NDArray[Any], names: Sequence[str], classes: Sequence[str] | None) -> list[str]:
    """Return each example as a text.

    The name of a class stands before the text, where a reader who cuts long texts keeps it; an answer, whose tokens are the
    label, stands behind its question. Where the label continues the text itself, as in language models, the text is all.

    Args:
        x: token numbers (n, length), or a mapping of inputs by name with one that has tokens.
        y: labels: classes (n,), or tokens of answers (n, length).
        names: names of the tokens.
        classes: names of the classes; None where labels are not classes.
    """
    inputs: Mapping[str, Any] = x if isinstance(x, Mapping) else {"": x}
    name = token_input(inputs)
    if name is None:
        raise UserError("no input of the examples has tokens")
    texts = [as_text(row, names) for row in inputs[name]]
    if classes is not None and y.ndim == 1:
        return [f"{classes[label]}: {text}" for label, text in zip(y.tolist(), texts, strict=True)]
    if _DECODER in inputs:
        return [f"{text} {as_text(row, names)}" for row, text in zip(y, texts, strict=True)]
    return texts
