"""``proponent figures``: the figures of one setting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.config.specifications.step_inputs import FiguresInputs
from proponent.config.specifications.table_specs import FiguresSpec
from proponent.methods.shared.array_needs import ArrayRows
from proponent.publish.examples import as_text, is_music, notes_of, piano_roll
from proponent.publish.figures import frontier_figure as frontier
from proponent.publish.figures import lds_figure as lds
from proponent.publish.figures import loss_figure as loss
from proponent.publish.figures import proponents_figure as proponents
from proponent.publish.figures.style import Figure, message, render
from proponent.publish.ranking import reason
from proponent.steps.io.job import Job
from proponent.steps.io.rankings import load_ranking
from proponent.steps.io.stored_arrays import load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json

SHOWN_QUERIES = 6


def run(job: Job[FiguresSpec, FiguresInputs]) -> None:
    """Write four figures as SVG and PNG: LDS, quality against cost, loss curves, strongest examples.

    If the figures of the setting could not be drawn (``failed`` of the specification), each says so instead.
    """
    setting = job.spec.setting
    drawn = _messages(job.spec) if job.spec.failed else _drawn(job, setting)
    for name, figure in drawn.items():
        for kind in ("png", "svg"):
            content = render(figure, kind, f"{name} of {setting}")
            job.write_bytes(f"results/figures/{name}-{setting}.{kind}", content)


def _messages(spec: FiguresSpec) -> dict[str, Figure]:
    return {name: message(f"{spec.setting}: {name}", [spec.failed]) for name in spec.figures}


def _drawn(job: Job[FiguresSpec, FiguresInputs], setting: str) -> dict[str, Figure]:
    ranking = load_ranking(job, setting, job.inputs.summary)
    trainings = [
        read_json(path)
        for shard in job.inputs.ensemble
        for path in sorted(job.read(shard).parent.glob("member-*/training.json"))
        if int(path.parent.name.removeprefix("member-")) in read_json(job.root / shard)["members"]
    ]
    best = next((document["method"] for document in ranking.ordered() if not reason(document)), None)
    return {
        "frontier": frontier.draw(ranking),
        "loss": loss.draw(setting, trainings),
        "proponents": message(f"{setting}: strongest examples", ["No method has scores on this setting."])
        if best is None
        else _draw_proponents(job, setting, best),
        "lds": lds.draw(ranking),
    }


def _draw_proponents(job: Job[FiguresSpec, FiguresInputs], setting: str, method: str) -> Figure:
    """Draw the strongest proponents and opponents of the first test queries of different labels."""
    scores = load_arrays(job.read(job.inputs.scores[method]))["scores"]
    data = load_numpy_data(job)
    examples, queries = (data.x_train, data.y_train), (data.x_query, data.y_query)
    described = read_json(job.root / f"results/{setting}/data/description.json")
    shape = described["image_shape"]
    named = job.root / f"results/{setting}/data/token_names.json"
    names = read_json(named) if named.exists() else []

    def picture(x: ArrayRows, row: int) -> NDArray[np.float64] | None:
        """Draw the first input with as many elements as the image, the notes of music, or nothing."""
        if shape is None:
            return piano_roll(notes_of(_tokens(x)[row], names)) if is_music(names) else None
        inputs = x.values() if isinstance(x, dict) else [x]
        return proponents.as_picture(
            next(value[row] for value in inputs if value[row].size == math.prod(shape)), shape
        )

    def item(
        rows: tuple[ArrayRows, NDArray[Any]], row: int, name: str, score: float | None = None
    ) -> proponents.Item:
        x, y = rows
        # The labels of a language model are the text itself, one position further.
        label = "" if names and y.ndim > 1 else _label(y[row], described["class_names"])
        text = as_text(_tokens(x)[row], names) if names else None
        return proponents.Item(f"{name} {row}", label, picture(x, row), score, text)

    def ranked(query: int, rows: list[int]) -> list[proponents.Item]:
        return [item(examples, row, "train", float(scores[query, row])) for row in rows]

    cases = []
    for query in varied_labels(data.y_query, described["n_tune"]):
        strong, opposed = proponents.strongest(scores[query])
        cases.append(
            proponents.Case(item(queries, query, "query"), ranked(query, strong), ranked(query, opposed))
        )
    return proponents.draw(setting, method, cases)


def varied_labels(labels: NDArray[Any], first: int) -> list[int]:
    """Return the rows of a few test queries, with different labels if labels are one number per query.

    Args:
        labels: (n_query, ...) labels of all queries.
        first: row of the first test query.
    """
    rows: list[int] = []
    for row in range(first, len(labels)):
        if len(rows) < SHOWN_QUERIES and (labels.ndim > 1 or labels[row] not in labels[rows]):
            rows.append(row)
    return rows


def _tokens(x: ArrayRows) -> NDArray[Any]:
    """Return the token numbers of examples whose tokens have names, (n, length)."""
    inputs = x if isinstance(x, dict) else {"x": x}
    found = [inputs[name] for name in ("input_ids", "title", "x") if name in inputs]
    return found[0]


def _label(label: NDArray[Any], class_names: list[str] | None) -> str:
    if label.ndim:
        return " ".join(str(value) for value in label.flatten()[:8].tolist())
    return class_names[int(label)] if class_names else f"{float(label):.3g}"
