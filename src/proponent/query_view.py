"""Explanations of queries as people look at them: a table in the terminal, and the cards of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from proponent.explanations.explanation_tables import Explanation, PairExplanation
from proponent.finished_results import Results
from proponent.publish.examples import is_music, notes_of, piano_roll, token_input, token_pieces
from proponent.publish.figures.proponents_figure import as_picture
from proponent.publish.png_pictures import data_uri, heat_map, png_bytes, token_colours
from proponent.publish.query_page import Card, HeatMap, QueryPage, Section, Word
from proponent.rows import Rows, named_tensors
from proponent.store.files import replacing

_NOTES = {
    "proponents": "They raise the target of the query. Framed: examples of another class.",
    "opponents": "They lower the target of the query. Framed: examples of the same class.",
    "neighbours": "Nearest neighbours in the representations of the model, with cosines, whatever the method says.",
    "same class": "Random examples of the query's class, with their scores.",
}
_NUMBERS = 8
"""Numbers of an input that are shown where it is neither an image nor a text."""
_CELL = 60
"""Characters of a text in the terminal."""


class QueryView:
    """Views of explanations of one setting.

    Args:
        results: results of the setting.
        method: name of the method.
        x: (n_query, ...) inputs of the explained queries.
        names: names of the queries, such as ``query 3``.
    """

    def __init__(self, results: Results, method: str, x: Rows, names: list[str]) -> None:
        self._results, self._method = results, method
        self._queries, self._names = x, names
        self._train, self._labels = results.rows()
        self._tokenizer = results.tokenizer()
        self._is_music = results.token_names is not None and is_music(results.token_names)

    def table(self, explanation: Explanation, images: Path | None = None) -> Table:
        """Return the examples as a table for the terminal.

        Args:
            explanation: explanation of one query.
            images: folder for the pictures of examples; None to write none.

        Raises:
            UserError: the folder cannot be written.
        """
        table = Table(title=self._title(explanation), title_justify="left")
        for column in ("list", "example", "label", "value"):
            table.add_column(column, justify="right" if column in ("example", "value") else "left")
        table.add_column("content", overflow="fold")
        for name, ranked in explanation.parts().items():
            for place, (index, value) in enumerate(zip(ranked.indices, ranked.values, strict=True)):
                row = int(index)
                content = self._content(row, images)
                table.add_row(
                    name if place == 0 else "", str(row), self._label(row), f"{float(value):+.4g}", content
                )
            table.add_section()
        return table

    def facts(self, explanation: Explanation) -> list[str]:
        """Return short sentences about an explanation."""
        counts = ", ".join(
            f"{count} for {share:.0%}"
            for count, share in zip(explanation.carried_by, explanation.shares, strict=True)
        )
        n_train = len(self._train)
        return [
            f"Examples that carry the absolute score: {counts}, of {n_train}.",
            f"{explanation.supported_by} of {n_train} examples have a score other than 0.",
        ]

    def page(self, explanation: Explanation, pairs: Mapping[int, PairExplanation]) -> QueryPage:
        """Return the page of one query.

        Args:
            explanation: explanation of the query.
            pairs: contributions of features by training example, for those that have them.
        """
        x, row = self._queries, explanation.query
        card = Card(self._names[row], f"label {self._class(explanation.label)}", **self._contents(x, row))
        sections = []
        for name, ranked in explanation.parts().items():
            largest = float(np.abs(ranked.values).max(initial=0.0)) or 1.0
            cards = []
            for index, value in zip(ranked.indices.tolist(), ranked.values.tolist(), strict=True):
                same = explanation.label is not None and int(self._labels[index]) == explanation.label
                surprising = explanation.label is not None and (
                    (name == "proponents" and not same) or (name == "opponents" and same)
                )
                maps = (
                    self._heat_maps(x, row, pairs[index]) if name == "proponents" and index in pairs else ()
                )
                cards.append(
                    Card(
                        f"train {index}",
                        self._label(index),
                        f"{value:+.4g}",
                        value / largest,
                        surprising=surprising,
                        heat_maps=maps,
                        **self._contents(self._train, index),
                    )
                )
            sections.append(Section(name.capitalize(), _NOTES[name], cards))
        predicted = "" if explanation.predicted is None else self._class(explanation.predicted)
        return QueryPage(
            self._results.setting, self._method, card, predicted, self.facts(explanation), sections
        )

    def _title(self, explanation: Explanation) -> str:
        parts = [f"{self._results.setting}, {self._names[explanation.query]}, {self._method}"]
        if explanation.label is not None:
            parts.append(f"label {self._class(explanation.label)}")
        if explanation.predicted is not None:
            parts.append(f"predicted {self._class(explanation.predicted)}")
        return ": ".join((parts[0], ", ".join(parts[1:]))) if parts[1:] else parts[0]

    def _class(self, label: int | None) -> str:
        names = self._results.class_names
        if label is None:
            return "–"
        return names[label] if names and 0 <= label < len(names) else str(label)

    def _label(self, index: int) -> str:
        label = self._labels[index]
        if label.ndim:
            return " ".join(f"{value:.3g}" for value in label.flatten()[:_NUMBERS].tolist())
        return f"{label.item():.3g}" if label.is_floating_point() else self._class(int(label))

    def _picture(self, x: Rows, row: int) -> NDArray[np.float64] | None:
        shape = self._results.image_shape
        if shape is None:
            if not self._is_music:
                return None
            tokens = next(iter(named_tensors(x).values()))[row].flatten().tolist()
            return piano_roll(notes_of(tokens, self._results.token_names or ()))
        own = [value[row].numpy(force=True) for value in named_tensors(x).values()]
        return as_picture(next(value for value in own if value.size == math.prod(shape)), shape)

    def _pieces(self, x: Rows, row: int) -> list[tuple[int, str]] | None:
        """Return the places of the shown tokens of a text with its parts, which join to the text; None for other inputs."""
        arrays = {name: value[row].numpy(force=True) for name, value in named_tensors(x).items()}
        name = token_input(arrays)
        if name is None:
            return None
        names = self._results.token_names
        if names is not None:
            return token_pieces(arrays[name].reshape(-1), names)
        if self._tokenizer is None:
            return None
        tokens = self._tokenizer.convert_ids_to_tokens(arrays[name].reshape(-1).tolist())
        return [(place, f" {token}") for place, token in enumerate(tokens) if token]

    def _contents(self, x: Rows, row: int) -> dict[str, Any]:
        """Return what a card shows of an input: a picture, words or numbers."""
        picture, pieces = self._picture(x, row), self._pieces(x, row)
        found: dict[str, Any] = {}
        if picture is not None:
            found["picture"] = data_uri(png_bytes(picture))
        if pieces is not None and not self._is_music:
            found["words"] = [Word(piece) for _, piece in pieces]
        if found:
            return found
        return {"numbers": _numbers(x, row)}

    def _content(self, row: int, images: Path | None) -> str:
        """Return what a cell of the table shows of a training example: a file, words or numbers."""
        picture, pieces = self._picture(self._train, row), self._pieces(self._train, row)
        if picture is not None:
            if images is None:
                return ""
            path = images / f"train-{row}.png"
            _write(path, png_bytes(picture))
            return str(path)
        if pieces is not None:
            text = "".join(piece for _, piece in pieces).strip()
            return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
        return _numbers(self._train, row)

    def _heat_maps(self, x: Rows, row: int, pair: PairExplanation) -> list[HeatMap]:
        shape = self._results.image_shape
        found = []
        for caption, values, rows, place in (
            ("features of the query", pair.query.values, x, row),
            ("features of the example", pair.train.values, self._train, pair.example),
        ):
            heat = HeatMap(caption, alternative=f"contributions to the score of the pair: {caption}")
            found.append(self._filled(heat, values, shape, rows, place))
        return found

    def _filled(
        self, heat: HeatMap, values: Tensor, shape: tuple[int, ...] | None, x: Rows, row: int
    ) -> HeatMap:
        own = values.numpy(force=True)
        if shape is not None and own.size == math.prod(shape):
            return replace(heat, picture=data_uri(png_bytes(heat_map(own, shape))))
        colours = token_colours(own.flatten())
        pieces = self._pieces(x, row)
        if pieces is None or max((place for place, _ in pieces), default=-1) >= len(colours):
            pieces = [(place, f" {value:+.2g}") for place, value in enumerate(own.flatten().tolist())]
        return replace(heat, words=[Word(piece, colours[place]) for place, piece in pieces])


def _numbers(x: Rows, row: int) -> str:
    values = next(iter(named_tensors(x).values()))[row].flatten()
    shown = ", ".join(f"{value:.3g}" for value in values[:_NUMBERS].tolist())
    return f"{shown}, …" if len(values) > _NUMBERS else shown


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
