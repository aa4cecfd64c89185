"""Files of ``proponent clean``: all examples as CSV, and the most suspicious ones with their evidence as an HTML page."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.cleaning import Suspect, Suspects
from proponent.finished_results import Results
from proponent.predictions_along_training import given_rows_of
from proponent.publish.figures.proponents_figure import as_picture
from proponent.publish.png_pictures import data_uri, png_bytes
from proponent.publish.suspects_table import Row, Shown, to_csv, to_html
from proponent.rows import named_tensors
from proponent.store.files import read_json, replacing

_WORDS = 40
"""Number of tokens or numbers of an example that are shown."""


def write_files(root: Path, suspects: Suspects, top: int) -> tuple[Path, Path]:
    """Write ``results/S/cleaning/METHOD.csv`` and ``METHOD.html``, and return their paths.

    Args:
        root: the checkout.
        suspects: examples of a setting.
        top: number of examples on the page.
    """
    results = Results(root / "results" / suspects.setting)
    folder = root / "results" / suspects.setting / "cleaning"
    folder.mkdir(exist_ok=True)
    names = results.class_names
    page = _Page(results)
    shown = [page.row(rank, entry) for rank, entry in enumerate(suspects.entries[:top], start=1)]
    title = f"{suspects.setting}: suspicious labels by {suspects.method}"
    table = to_csv(map(asdict, suspects.entries), lambda label: names[label] if names else str(label))
    paths = folder / f"{suspects.method}.csv", folder / f"{suspects.method}.html"
    for path, content in zip(
        paths, (table, to_html(title, _facts(suspects, len(shown)), shown)), strict=True
    ):
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def _facts(suspects: Suspects, shown: int) -> list[str]:
    """Return what a reader has to know about the order and the evidence."""
    ranked_by = {
        "self-influence": "its influence on its own loss, which is large for examples that a model memorises",
        "mean score": "how much it lowers the targets of the test queries on average",
    }[suspects.ordered_by]
    because = f" ({suspects.because})" if suspects.because else ""
    without = (
        f" Proponents and opponents are missing: {suspects.without_details}."
        if suspects.without_details
        else ""
    )
    return [
        f"The first {shown} of {len(suspects.entries)} training examples. An example is suspicious by {ranked_by}, "
        f"according to {suspects.method}{because}. Suspicious is not wrong: rare and difficult examples come first as well.",
        "Probabilities are means over the members of the ensemble and their checkpoints, so that a label that was "
        "memorised late has a low one. Proponents raise the model's margin of the label of the example, opponents lower it."
        + without,
    ]


class _Page:
    """Examples and queries of a setting, as a page shows them."""

    def __init__(self, results: Results) -> None:
        self._results = results
        x, y = results.train
        queries, labels = results.queries()
        self._rows = {
            "train": (given_rows_of(x), np.asarray(y).reshape(len(y), -1)[:, 0]),
            "query": (given_rows_of(queries), np.asarray(labels).reshape(len(labels), -1)[:, 0]),
        }
        tokens = results.folder / "data/token_names.json"
        self._tokens: list[str] | None = read_json(tokens) if tokens.exists() else None

    def row(self, rank: int, entry: Suspect) -> Row:
        """Return the section of one example."""

        def examples(rows: list[int]) -> list[Shown]:
            return [self._shown("train", row) for row in rows]

        return Row(
            rank=rank,
            values=asdict(entry),
            example=self._shown("train", entry.example),
            predicted=self._class(entry.predicted),
            other_labels=examples(entry.other_labels),
            harmed=[self._shown("query", row) for row in entry.harmed],
            proponents=examples(entry.proponents),
            opponents=examples(entry.opponents),
        )

    def _class(self, label: int) -> str:
        names = self._results.class_names
        return names[label] if names else str(label)

    def _shown(self, kind: str, row: int) -> Shown:
        x, labels = self._rows[kind]
        tensors = [np.asarray(value[row]) for value in named_tensors(x).values()]
        shape = self._results.image_shape
        picture = next((t for t in tensors if shape and t.size == math.prod(shape)), None)
        drawn = as_picture(picture, shape) if picture is not None else None
        return Shown(
            name=f"{kind} {row}",
            label=self._class(int(labels[row])),
            picture=_address(drawn) if drawn is not None else "",
            text="" if drawn is not None else self._text(tensors[0]),
        )

    def _text(self, values: Any) -> str:
        """Return an example that is not an image as text: its words, its tokens without padding, or its numbers."""
        flat = values.flatten()
        if np.issubdtype(flat.dtype, np.integer):
            flat = flat[flat != 0]
            words = [self._tokens[token] if self._tokens else str(token) for token in flat[:_WORDS]]
        else:
            words = [f"{value:.3g}" for value in flat[:_WORDS]]
        return " ".join(words) + (" …" if len(flat) > _WORDS else "")


def _address(picture: NDArray[np.float64]) -> str:
    """Return an image as an address that holds it; large grey values are dark, as in the figures."""
    return data_uri(png_bytes(1 - picture if picture.ndim == 2 else picture))
