r"""Do metrics agree? Rank correlations of metrics over methods, per setting and pooled, for docs/findings.md.

    python benchmarks/metric_agreement.py record mnist-mlp fmnist-mlp     # all finished settings without names
    python benchmarks/metric_agreement.py write

``record`` reads ``results/S/metrics/*.json`` and writes ``docs/data/metric-agreement.json``; ``write`` makes of it the
section "Do metrics agree?" of docs/findings.md, between two comments, and the figure ``docs/images/metric-agreement.svg``.

The correlation of two metrics is Spearman's over the methods that have both, in settings with at least eight of them,
without the control ``random``, on which all metrics agree. A resample draws kinds of methods (``trak`` and ``trak-10`` are
one kind) with replacement, and takes the values of the metrics from the resample of their own bootstrap that has the same
number. The pooled value is the mean over settings, whose resamples draw settings as well. The *reliability* of a metric is
its correlation with its own resamples: two metrics cannot agree more than they agree with themselves.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from proponent.metrics.estimate import interval

ROOT = Path(__file__).parents[1]
RECORD = "docs/data/metric-agreement.json"
PAGE, FIGURE = "docs/findings.md", "docs/images/metric-agreement.svg"
BEGIN, END = "<!-- metric-agreement: begin -->", "<!-- metric-agreement: end -->"
HEADING = "## Do metrics agree?"
CONTROL = "random"
LEFT_OUT = ("mislabel_ap", "mislabel_found_5", "mislabel_found_20", "mislabel_found_30", "lds_removed_25")
"""Values that are nearly those of a sibling, so that a table of all of them would repeat itself."""
USEFUL = ("counterfactual_drop", "coreset_keep_best", "cleaning_gain_10", "tail_patch")
"""Metrics that ask what scores are good for, with whose mean rank that of the LDS is compared."""
MIN_METHODS = 8
RESAMPLES = 1000
PARTINGS = 8
"""Methods that are listed, those whose ranks differ most."""

Values = dict[str, tuple[float, NDArray[np.float64]]]
"""Value of a metric and its replicates, by method."""


class Pair(NamedTuple):
    """Agreement of two metrics."""

    setting: str
    """Empty for all settings together."""
    metrics: tuple[str, str]
    value: float
    low: float
    high: float
    count: int
    """Number of methods, or of settings."""


def order_of_metrics(root: Path) -> dict[str, bool]:
    """Return the names of values in the order of a table, and whether each needs retrainings of its own."""
    found: dict[str, bool] = {}
    for path in sorted((root / "configs/metrics").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found |= dict.fromkeys(content.get("meaning", {}), "design" in content)
    kept = {name: retrains for name, retrains in found.items() if name not in LEFT_OUT}
    return dict(sorted(kept.items(), key=lambda item: (item[0] != "lds", item[1])))


def read_setting(folder: Path, names: Iterable[str]) -> dict[str, Values]:
    """Return the values of each metric by method, without the control.

    Args:
        folder: ``results/S``.
        names: values of the leaderboard that are wanted.
    """
    found: dict[str, Values] = {name: {} for name in names}
    for path in sorted((folder / "metrics").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        method = document.get("method", CONTROL)
        if method == CONTROL or path.name.endswith(".manifest.json"):
            continue
        for name, entry in document["metrics"].items():
            if name in found:
                found[name][method] = entry["value"], np.asarray(entry["replicates"], dtype=np.float64)
    return {name: values for name, values in found.items() if values}


def kinds_drawn(methods: Sequence[str], resamples: int, seed: int = 0) -> NDArray[np.float64]:
    """Return how often each method occurs in resamples of kinds of methods, (resamples, n_methods).

    The kind of a method is its name up to the first hyphen.
    """
    kinds, number = np.unique([method.partition("-")[0] for method in methods], return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(kinds), size=(resamples, len(kinds)))
    counts = np.stack([np.bincount(row, minlength=len(kinds)) for row in drawn])
    return counts[:, number].astype(np.float64)


def ranks(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mid-ranks of the values of each row, of which item i occurs ``counts[b, i]`` times.

    Args:
        values: (B, n).
        counts: (B, n).
    """
    below = values[:, None, :] < values[:, :, None]
    equal = values[:, None, :] == values[:, :, None]
    found: NDArray[np.float64] = np.einsum("bij,bj->bi", below + 0.5 * equal, counts)
    return found


def correlation(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Spearman's correlation of each row of ``x`` with that of ``y``, (B,); NaN where one of the two is constant."""
    rows = []
    for values in (x, y):
        own = ranks(values, counts)
        rows.append(own - (counts * own).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True))
    first, second = rows
    scale = np.sqrt((counts * first**2).sum(axis=1) * (counts * second**2).sum(axis=1))
    product = (counts * first * second).sum(axis=1)
    return np.divide(product, scale, out=np.full(len(scale), np.nan), where=scale > 0)


def sample(values: Values, methods: Sequence[str]) -> NDArray[np.float64]:
    """Return the values of methods on the sample and on its resamples, (1 + B, n_methods)."""
    resamples = min(RESAMPLES, *(len(values[method][1]) for method in methods))
    own = [np.concatenate([[values[method][0]], values[method][1][:resamples]]) for method in methods]
    return np.stack(own, axis=1)


def agreement(first: Values, second: Values, min_methods: int) -> tuple[NDArray[np.float64], int] | None:
    """Return the correlation of two metrics on the sample and on its resamples, and the number of methods.

    None if fewer than ``min_methods`` methods have both metrics, or if one of the metrics is the same for all of them.
    """
    methods = sorted(first.keys() & second.keys())
    if len(methods) < max(min_methods, 2):
        return None
    x, y = sample(first, methods), sample(second, methods)
    rows = min(len(x), len(y))
    counts = np.vstack([np.ones(len(methods)), kinds_drawn(methods, rows - 1)])
    found = correlation(x[:rows], y[:rows], counts)
    return None if np.isnan(found[0]) else (found, len(methods))


def reliability(values: Values) -> float | None:
    """Return the mean correlation of a metric with its resamples over the same methods; None if it is constant."""
    methods = sorted(values)
    x = sample(values, methods)
    found = correlation(np.repeat(x[:1], len(x) - 1, axis=0), x[1:], np.ones((len(x) - 1, len(methods))))
    return None if np.isnan(found).all() else float(np.nanmean(found))


def with_interval(setting: str, metrics: tuple[str, str], found: NDArray[np.float64], count: int) -> Pair:
    """Return the agreement whose sample is the first of some values, and whose resamples are the others."""
    defined = found[1:][~np.isnan(found[1:])]
    low, high = interval(found[0], defined, (-1.0, 1.0)) if len(defined) else (-1.0, 1.0)
    return Pair(setting, metrics, round(float(found[0]), 4), round(low, 4), round(high, 4), count)


def pooled(by_setting: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over settings, on the sample and on resamples of which each draws the settings as well."""
    rows = min(len(found) for found in by_setting)
    stacked = np.stack([found[:rows] for found in by_setting])
    drawn = np.random.default_rng(1).integers(len(stacked), size=(rows, len(stacked)))
    drawn[0] = np.arange(len(stacked))
    chosen = np.take_along_axis(stacked.T, drawn, axis=1)
    defined = ~np.isnan(chosen)
    sums = np.where(defined, chosen, 0.0).sum(axis=1)
    counts = defined.sum(axis=1)
    return np.divide(sums, counts, out=np.full(rows, np.nan), where=counts > 0)


def partings(setting: str, metrics: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Return, per method, its place by the LDS and by the mean place over the useful metrics, 1 = best."""
    useful = [name for name in USEFUL if name in metrics]
    if "lds" not in metrics or not useful:
        return []
    methods = sorted(set(metrics["lds"]).intersection(*(metrics[name] for name in useful)))
    if len(methods) < MIN_METHODS:
        return []

    def places(name: str) -> NDArray[np.float64]:
        own = -np.array([[metrics[name][method][0] for method in methods]])
        return ranks(own, np.ones(own.shape))[0] + 0.5

    by_lds, by_use = places("lds"), np.mean([places(name) for name in useful], axis=0)
    return [
        {
            "setting": setting,
            "method": method,
            "lds": float(a),
            "useful": round(float(b), 2),
            "of": len(methods),
        }
        for method, a, b in zip(methods, by_lds, by_use, strict=True)
    ]


def record(root: Path, settings: Sequence[str], min_methods: int = MIN_METHODS) -> dict[str, Any]:
    """Return the agreement of all pairs of metrics on finished settings.

    Args:
        root: the checkout.
        settings: names of settings with results.
        min_methods: number of methods that have to have both metrics of a pair.
    """
    order = order_of_metrics(root)
    read = {name: read_setting(root / "results" / name, order) for name in settings}
    pairs: list[Pair] = []
    together: list[Pair] = []
    for first, second in combinations(order, 2):
        by_setting = []
        for setting, metrics in read.items():
            if first in metrics and second in metrics:
                found = agreement(metrics[first], metrics[second], min_methods)
                if found is not None:
                    by_setting.append(found[0])
                    pairs.append(with_interval(setting, (first, second), *found))
        if by_setting:
            together.append(with_interval("", (first, second), pooled(by_setting), len(by_setting)))
    own = {
        name: [
            value
            for metrics in read.values()
            if len(metrics.get(name, ())) >= max(min_methods, 2)
            and (value := reliability(metrics[name])) is not None
        ]
        for name in order
    }
    apart = sorted(
        (entry for setting, metrics in read.items() for entry in partings(setting, metrics)),
        key=lambda entry: -abs(entry["lds"] - entry["useful"]) / entry["of"],
    )
    return {
        "settings": list(settings),
        "metrics": {name: {"retrains": order[name], "reliability": _mean(own[name])} for name in order},
        "pooled": [_row(pair) for pair in together],
        "by_setting": [_row(pair) for pair in pairs],
        "partings": apart[:PARTINGS],
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _row(pair: Pair) -> list[Any]:
    own = [*pair.metrics, pair.value, pair.low, pair.high, pair.count]
    return [pair.setting, *own] if pair.setting else own


def section(found: Mapping[str, Any]) -> str:
    """Return the tables of a record as Markdown."""
    retrains = {name: entry["retrains"] for name, entry in found["metrics"].items()}
    both: dict[tuple[str, str], list[Any]] = {}
    for first, second, *values in found["pooled"]:
        both[first, second] = both[second, first] = values
    lines = [
        f"![Rank correlation of metrics over methods](images/{Path(FIGURE).name})",
        "",
        f"Spearman's correlation over methods, averaged over the settings that have both metrics ({len(found['settings'])} "
        "settings); 95 % intervals over settings, kinds of methods and the resamples of each metric. Reliability is the "
        "correlation of a metric with its own resamples.",
        "",
        "| metric that retrains | reliability | with the LDS | best predictor that needs no retraining |",
        "| --- | ---: | --- | --- |",
    ]
    for name, is_dear in retrains.items():
        cheap = [
            (values, other)
            for (own, other), values in both.items()
            if own == name and not retrains[other] and other != "lds"
        ]
        if not is_dear or not any(own == name for own, _ in both):
            continue
        with_lds = _text(both[name, "lds"]) if (name, "lds") in both else "–"
        values, best = max(cheap, key=lambda entry: entry[0][0]) if cheap else (None, "")
        predictor = f"`{best}` {_text(values)}" if values else "–"
        lines.append(
            f"| `{name}` | {_number(found['metrics'][name]['reliability'])} | {with_lds} | {predictor} |"
        )
    lines += ["", "| pair | setting | correlation | methods |", "| --- | --- | --- | ---: |"]
    for setting, first, second, *values in found["by_setting"]:
        if first == "lds" and (retrains[second] or second == "loo"):
            lines.append(f"| `lds`, `{second}` | `{setting}` | {_text(values)} | {values[3]} |")
    if found["partings"]:
        useful = ", ".join(f"`{name}`" for name in USEFUL)
        lines += [
            "",
            "Where the LDS and usefulness part most (places among the methods, 1 = best; usefulness is the mean place by "
            f"{useful}, as far as a setting has them):",
            "",
            "| setting | method | by the LDS | by usefulness | of |",
            "| --- | --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| `{entry['setting']}` | `{entry['method']}` | {entry['lds']:g} | {entry['useful']:.1f} | {entry['of']} |"
            for entry in found["partings"]
        ]
    names = ", ".join(f"`{name}`" for name in found["settings"])
    lines += [
        "",
        f"Settings: {names}. Obtained with `python benchmarks/metric_agreement.py record {' '.join(found['settings'])}`.",
    ]
    return "\n".join(map(_wrapped, lines)) + "\n"


def _wrapped(line: str) -> str:
    """Return a line of a table as it is, and a paragraph in lines of at most 118 characters."""
    if line.startswith(("|", "!")):
        return line
    return textwrap.fill(line, 118, break_long_words=False, break_on_hyphens=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _text(values: Sequence[float]) -> str:
    value, low, high = (_number(one) for one in values[:3])
    return f"{value} [{low}, {high}]"


def placed(page: str, content: str) -> str:
    """Return a page with new content between the two comments, or with a new section at its end."""
    block = f"{BEGIN}\n{content}{END}"
    if BEGIN in page:
        before, _, rest = page.partition(BEGIN)
        return before + block + rest.partition(END)[2]
    return f"{page.rstrip()}\n\n{HEADING}\n\n{block}\n"


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw the pooled correlations as a matrix, with the reliability of each metric on the diagonal."""
    used = {name for first, second, *_ in found["pooled"] for name in (first, second)}
    names = [name for name in found["metrics"] if name in used]
    place = {name: index for index, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    for first, second, value, *_ in found["pooled"]:
        values[place[first], place[second]] = values[place[second], place[first]] = value
    for name in names:
        own = found["metrics"][name]["reliability"]
        values[place[name], place[name]] = np.nan if own is None else own
    size = 0.42 * len(names) + 2.2
    figure, axes = plt.subplots(figsize=(size + 0.8, size), layout="constrained")
    image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    for row, column in np.argwhere(~np.isnan(values)):
        shade = "white" if abs(values[row, column]) > 0.6 else "black"
        text = f"{values[row, column]:.2f}".replace("0.", ".").replace("-", "−")
        axes.text(column, row, text, ha="center", va="center", fontsize=5.5, color=shade)
    first_dear = sum(not found["metrics"][name]["retrains"] for name in names)
    for line in (axes.axhline, axes.axvline):
        line(first_dear - 0.5, color="black", lw=1)
    axes.set_title(
        "Rank correlation over methods, mean over settings; reliability on the diagonal\n"
        "(metrics behind the line retrain)",
        fontsize=8,
    )
    figure.colorbar(image, shrink=0.7)
    return figure


def main() -> None:
    """Run ``record`` or ``write``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["record", "write"])
    parser.add_argument("settings", nargs="*", help="settings to record; all finished ones without names")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout with results")
    given = parser.parse_args()
    if given.command == "record":
        finished = sorted({path.parts[-3] for path in (given.root / "results").glob("*/metrics/*.json")})
        unknown = [name for name in given.settings if name not in finished]
        if unknown or not finished:
            parser.exit(1, f"results/{unknown[0] if unknown else ''} has no metrics; run snakemake first\n")
        text = json.dumps(record(given.root, given.settings or finished), indent=None) + "\n"
        (ROOT / RECORD).write_text(text.replace("], [", "],\n["), encoding="utf-8")
        return
    found = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    page = ROOT / PAGE
    page.write_text(placed(page.read_text(encoding="utf-8"), section(found)), encoding="utf-8")
    mpl.rcParams["svg.hashsalt"] = "metric-agreement"
    draw(found).savefig(ROOT / FIGURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
