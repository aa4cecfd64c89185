"""``proponent figures``: one setting's figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from proponent.config.step_specs import FiguresInputs, FiguresSpec
from proponent.metrics.compare import compare_all
from proponent.publish.figures import frontier_figure as frontier
from proponent.publish.figures import lds_figure as lds
from proponent.publish.figures import loss_figure as loss
from proponent.publish.figures import proponents_figure as proponents
from proponent.publish.figures.style import render
from proponent.steps.io.job import Job
from proponent.steps.io.stored_arrays import load_numpy_data
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json

SHOWN_QUERIES = 6


def run(job: Job[FiguresSpec, FiguresInputs]) -> None:
    """Write four figures as SVG, and as PNG beside: LDS, quality against cost, loss curves, strongest examples."""
    setting = job.spec.setting
    documents = [read_json(job.read(path)) for path in job.inputs.metrics.values()]
    _, ranks = compare_all(documents)
    trainings = [
        read_json(path)
        for shard in job.inputs.ensemble
        for path in sorted(job.read(shard).parent.glob("member-*/training.json"))
        if int(path.parent.name.removeprefix("member-")) in read_json(job.root / shard)["members"]
    ]
    drawn = {
        "frontier": frontier.draw(setting, documents),
        "loss": loss.draw(setting, trainings),
        "proponents": _draw_proponents(job, setting, documents),
        "lds": lds.draw(setting, documents, ranks.get(setting, {}).get("lds", {})),
    }
    for name, figure in drawn.items():
        for kind in ("png", "svg"):
            content = render(figure, kind, f"{name} of {setting}")
            job.write_bytes(f"results/figures/{name}-{setting}.{kind}", content)


def _draw_proponents(
    job: Job[FiguresSpec, FiguresInputs], setting: str, documents: list[dict[str, Any]]
) -> Any:
    """Draw the strongest proponents and opponents of the best method for the first test queries of different labels."""
    best = max(documents, key=_quality)["method"]
    scores = load_arrays(job.read(job.inputs.scores[best]))["scores"]
    data = load_numpy_data(job)
    described = read_json(job.root / f"results/{setting}/data/description.json")

    def item(x: Any, y: Any, row: int, name: str, score: float | None = None) -> proponents.Item:
        names = described["class_names"]
        label = names[int(y[row])] if names and y.ndim == 1 else _label(y[row])
        picture = proponents.as_picture(np.asarray(x[row], dtype=np.float64), described["image_shape"])
        return proponents.Item(name, label, picture, score)

    def ranked(query: int, chosen: list[int]) -> list[proponents.Item]:
        return [
            item(data.x_train, data.y_train, row, f"train {row}", float(scores[query, row])) for row in chosen
        ]

    cases = []
    for query in _varied(data.y_query, described["n_tune"]):
        strong, opposed = proponents.strongest(scores[query])
        asked = item(data.x_query, data.y_query, query, f"query {query}")
        cases.append(proponents.Case(asked, ranked(query, strong), ranked(query, opposed)))
    return proponents.draw(setting, best, cases)


def _varied(labels: Any, first: int) -> list[int]:
    """Return a few test queries, of different labels where there are as many."""
    rows: list[int] = []
    for row in range(first, len(labels)):
        if len(rows) < SHOWN_QUERIES and (labels.ndim > 1 or labels[row] not in labels[rows]):
            rows.append(row)
    return rows


def _label(y: Any) -> str:
    return f"{float(y):.3g}" if y.ndim == 0 else " ".join(str(value) for value in y.flatten()[:8].tolist())


def _quality(document: dict[str, Any]) -> float:
    metrics = document["metrics"]
    for name in ("lds", "mislabel_auc", "loo"):
        if name in metrics:
            return float(metrics[name]["value"])
    return 0.0
