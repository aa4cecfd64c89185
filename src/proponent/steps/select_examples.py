"""``proponent select``: the training examples to keep for some target queries, and what keeping a share has cost so far."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.metrics.metric_inputs import check_scores
from proponent.publish.figures.coreset_figure import draw
from proponent.publish.figures.style import render
from proponent.seeds import derive_seed
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json, replacing
from proponent.store.manifest import check_bytes
from proponent.training.derived_masks import descending, first_only

BASELINES = ("random", "same-label", "similarity-cosine", "bm25", "el2n", "grand", "forgetting")
"""Methods whose curves are shown next to that of the chosen one, where the setting has them."""


@dataclass(frozen=True)
class Selection:
    """A choice of training examples.

    Attributes:
        setting: name of a setting with results.
        method: method by whose scores examples are chosen.
        keep: share of the training set to keep, in (0, 1).
        queries: target queries: ``tune``, ``test``, ``all``, or numbers and ranges such as ``3,17,20-29``.
        balanced: whether every class keeps the same share of its examples.
    """

    setting: str
    method: str
    keep: float
    queries: str = "tune"
    balanced: bool = False


def run(root: Path, selection: Selection, output: Path, console: Console, figure: Path | None = None) -> None:
    """Write the examples to keep as CSV, and print how accurate models are that were trained on such choices.

    With ``figure``, the curves are drawn as well, to an SVG or PNG file.

    The columns are ``rank`` (1 = most valuable), ``example`` (row of the training set, from 0), ``value`` (mean score over
    the target queries) and, where every example has one class, ``label``.

    Raises:
        UserError: results are missing (the message has the command that makes them), or an option is out of range.
    """
    folder = root / "results" / selection.setting
    if not folder.is_dir():
        names = [path.name for path in (root / "results").glob("*") if (path / "data").is_dir()]
        raise UserError(
            f"--setting: results/{selection.setting} does not exist{nearest(selection.setting, names)}; run snakemake"
        )
    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise UserError(f"--figure: give a name that ends in .svg or .png, not {figure.name}")
    if not 0 < selection.keep < 1:
        raise UserError(f"--keep must be a share between 0 and 1, not {selection.keep}")
    scores = _read(root, selection, f"scores/{selection.method}.safetensors").get("scores")
    if scores is None:
        raise UserError(
            f"--method: '{selection.method}' is left out of {selection.setting}; choose another one"
        )
    train = _read(root, selection, "data/train.safetensors")
    check_scores(scores, len(scores), len(train["y"]))
    spec = read_json(folder / "keys/data/train.safetensors.json")["spec"]
    values = scores[_targets(selection.queries, spec["queries"])].astype(np.float64).mean(axis=0)
    labels = train["y"] if train["y"].ndim == 1 and train["y"].dtype.kind in "iu" else None
    if selection.balanced and labels is None:
        raise UserError("--balanced: the examples of this setting do not have one class each; leave it out")
    order = descending(values, derive_seed(spec["seed"], "ties"))
    balance = labels if selection.balanced else None
    (mask,) = first_only(order, [selection.keep], balance, "--keep")
    chosen = [int(example) for example in order if mask[example]]
    with replacing(output) as temporary:
        temporary.write_text(_table(chosen, values, labels), encoding="utf-8")
    console.print(
        f"{output}: {len(chosen)} of {len(values)} examples, the most valuable first", soft_wrap=True
    )
    curves = _curves(root, selection)
    _show_curves(selection, curves, console)
    if figure is not None and curves:
        kind: Literal["svg", "png"] = "png" if figure.suffix == ".png" else "svg"
        content = render(draw(selection.setting, curves), kind, f"coresets of {selection.setting}")
        with replacing(figure) as temporary:
            temporary.write_bytes(content)


def _read(root: Path, selection: Selection, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a result of the setting, after comparing its bytes with its manifest."""
    path = f"results/{selection.setting}/{name}"
    if not (root / path).exists():
        known = [file.stem for file in (root / path).parent.glob("*.safetensors")]
        near = nearest(selection.method, known) if name.startswith("scores/") and known else ""
        raise UserError(
            f"{path} does not exist{near}; make it with: snakemake {path} --config 'settings=[{selection.setting}]' "
            f"'methods=[{selection.method}]'"
        )
    check_bytes(root, path)
    return load_arrays(root / path)


def _targets(text: str, queries: Mapping[str, int]) -> NDArray[np.intp]:
    """Return the numbers of the target queries.

    Raises:
        UserError: the text is neither a name nor a list of numbers of queries.
    """
    tune, total = queries["tune"], queries["tune"] + queries["test"]
    named = {"tune": range(tune), "test": range(tune, total), "all": range(total)}
    if text in named:
        return np.array(named[text])
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(
                f"--queries: '{part}' is neither a number nor a range; write tune, test, all, or a list such as 3,17,20-29"
            )
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    if not numbers or max(numbers) >= total:
        raise UserError(f"--queries: the setting has the queries 0 to {total - 1}, and '{text}' names others")
    return np.unique(numbers)


def _table(chosen: Sequence[int], values: NDArray[np.floating], labels: NDArray[np.integer] | None) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["rank", "example", "value", *(["label"] if labels is not None else [])])
    for rank, example in enumerate(chosen, start=1):
        own = [int(labels[example])] if labels is not None else []
        writer.writerow([rank, example, f"{values[example]:.6g}", *own])
    return stream.getvalue()


def _show_curves(selection: Selection, curves: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print the accuracy by share kept, of the method and of the baselines that are evaluated, or how to evaluate them."""
    if not curves:
        metric = _metric(selection).replace("_", "-")
        names = ",".join(dict.fromkeys([selection.method, *BASELINES[:2]]))
        console.print(
            f"No models have been trained on such choices yet. To train them: snakemake --config "
            f"'settings=[{selection.setting}]' 'methods=[{names}]' 'metrics=[lds,{metric}]'",
            markup=False,
            soft_wrap=True,
        )
        return
    own = curves[selection.method]
    table = Table("share kept", *curves, "random examples", box=None)
    for column in table.columns:
        column.justify = "right"
    for index, share in enumerate(own["shares"]):
        cells = [_cell(entry, "best", index) for entry in curves.values()]
        table.add_row(f"{100 * share:.0f} %", *cells, _cell(own, "random", index))
    console.print(f"{own['utility']} on the test queries, chosen by the scores of the tune queries")
    console.print(table)
    console.print(f"all examples: {own['all']:.3f}")


def _metric(selection: Selection) -> str:
    return "coreset_balanced" if selection.balanced else "coreset"


def _curves(root: Path, selection: Selection) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the metric by method, that of the chosen method first; none if it has not been evaluated."""
    methods = dict.fromkeys([selection.method, *BASELINES])
    found = {method: _curve(root, selection.setting, method, _metric(selection)) for method in methods}
    if found[selection.method] is None:
        return {}
    return {
        method: entry
        for method, entry in found.items()
        if entry is not None and (method != "random" or method == selection.method)
    }


def _curve(root: Path, setting: str, method: str, name: str) -> dict[str, Any] | None:
    path = root / f"results/{setting}/metrics/{method}.json"
    if not path.exists():
        return None
    entry: dict[str, Any] | None = read_json(path)["metrics"].get(f"{name}_keep_best")
    return entry


def _cell(entry: Mapping[str, Any], curve: str, index: int) -> str:
    value, low, high = (entry[f"curve_{curve}{end}"][index] for end in ("", "_low", "_high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
