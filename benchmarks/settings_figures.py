"""Figures over all recorded settings, from the files that ``settings_page.py record`` writes.

``python benchmarks/settings_figures.py`` writes them to ``docs/images/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from text_figures import known_sources, learned_encoders

ROOT = Path(__file__).parents[1]
Entry = Mapping[str, Any]
KINDS = {
    "learned from retrainings": ("datamodels", "airrep"),
    "TRAK": ("trak",),
    "influence functions": (
        "if-",
        "ekfac",
        "kfac",
        "relatif",
        "datainf",
        "logra",
        "grass",
        "factgrass",
        "trackstar",
    ),
    "unrolling": ("source", "magic", "dvemb"),
    "gradient similarity": ("grad", "tracin", "less"),
    "representer points": ("rps", "dualda"),
    "baselines": ("random", "same-label", "similarity", "bm25", "tfidf"),
}
"""Beginnings of the names of methods, by kind."""
CEILINGS = {"ceiling": "-", "ceiling_additive": ":"}
"""Style of the lines of the ceilings."""
STAGES = ("mnist-mlp", "mnist-mlp-early", "mnist-stages")
EARLY = ("graddot", "trak", "ekfac")
AVERAGED = (("graddot", "graddot-10"), ("trak", "trak-10"), ("ekfac", "ekfac-10"))


def kind_of(method: str) -> str:
    """Return the kind of a method, from the beginning of its name."""
    return next((kind for kind, beginnings in KINDS.items() if method.startswith(beginnings)), "other")


def overview(entries: Mapping[str, Entry]) -> Figure:
    """Draw one row per setting: the LDS of each method with its interval, and both ceilings."""
    names = [name for name, entry in entries.items() if entry["lds"]]
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(names) + 1.4), layout="constrained")
    colours = dict(zip([*KINDS, "other"], mpl.color_sequences["tab10"], strict=False))
    for row, name in enumerate(names):
        entry = entries[name]
        methods = entry["lds"]
        for place, (method, value, low, high) in enumerate(methods):
            height = row - 0.36 + 0.72 * place / max(1, len(methods) - 1)
            axes.plot([low, high], [height, height], color=colours[kind_of(method)], lw=1, alpha=0.6)
            axes.plot(value, height, "o", ms=3.5, color=colours[kind_of(method)])
        for key, style in CEILINGS.items():
            if entry[key] is not None:
                axes.plot([entry[key]] * 2, [row - 0.42, row + 0.42], style, color="black", lw=1.2)
        axes.annotate(
            methods[0][0],
            (methods[0][3], row - 0.36),
            (4, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlabel(
        "LDS on the test queries, with 95 % interval; the lines are the ceiling and the additive ceiling (dotted)"
    )
    used = [
        kind
        for kind in [*KINDS, "other"]
        if any(kind_of(row[0]) == kind for name in names for row in entries[name]["lds"])
    ]
    figure.legend(
        [plt.Line2D([], [], marker="o", ls="", color=colours[kind]) for kind in used],
        used,
        fontsize=8,
        ncols=4,
        loc="outside upper center",
        frameon=False,
    )
    return figure


def stages(entries: Mapping[str, Entry]) -> Figure:
    """Draw SOURCE next to influence functions where training converges, where it does not, and in two stages."""
    names = [name for name in STAGES if name in entries]
    methods = [
        method
        for method in (
            "source",
            "source-fast",
            "ekfac",
            "kfac",
            "if-cg",
            "tracin",
            "trak",
            "source-10",
            "ekfac-10",
            "trak-10",
        )
        if any(method == row[0] for name in names for row in entries[name]["lds"])
    ]
    return _bars(entries, names, methods, "LDS")


def averages(entries: Mapping[str, Entry]) -> Figure:
    """Draw the LDS of methods on one member and averaged over ten."""
    names = [
        name
        for name, entry in entries.items()
        if {"graddot-10", "trak-10"} & {row[0] for row in entry["lds"]}
    ]
    return _bars(entries, names, [method for pair in AVERAGED for method in pair], "LDS")


def _bars(entries: Mapping[str, Entry], names: list[str], methods: list[str], label: str) -> Figure:
    figure, axes = plt.subplots(figsize=(max(6, 1.5 * len(names) + 2), 3.6), layout="constrained")
    colours = mpl.color_sequences["tab20"]
    width = 0.84 / max(1, len(methods))
    for place, method in enumerate(methods):
        found = [
            (row, *values)
            for row, name in enumerate(names)
            for other, *values in entries[name]["lds"]
            if other == method
        ]
        if not found:
            continue
        rows, values, low, high = np.array(found).T
        axes.bar(
            rows - 0.42 + (place + 0.5) * width,
            values,
            width,
            yerr=[values - low, high - values],
            color=colours[place],
            label=method,
            error_kw={"lw": 0.8},
        )
    for row, name in enumerate(names):
        for key, style in CEILINGS.items():
            if entries[name][key] is not None:
                axes.plot([row - 0.44, row + 0.44], [entries[name][key]] * 2, style, color="black", lw=1)
    axes.set_xticks(range(len(names)), names, rotation=20 if len(names) > 4 else 0)
    axes.set_ylabel(f"{label}; line: ceiling, dotted: additive")
    axes.legend(fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.22), frameon=False)
    return figure


def early_checkpoints(entries: Mapping[str, Entry]) -> Figure:
    """Draw the best LDS of each checkpoint on the tune queries, as a share of that of the best checkpoint."""
    figure, panels = plt.subplots(1, len(EARLY), figsize=(11, 3.4), sharey=True, layout="constrained")
    markers, colours = "osD^v<>Pphd*X", mpl.color_sequences["tab20"]
    drawn: dict[str, plt.Line2D] = {}
    for axes, method in zip(panels, EARLY, strict=True):
        for place, (name, entry) in enumerate(entries.items()):
            best: dict[float, float] = {}
            for params, lds in entry["candidates"].get(method, []):
                if lds is not None:  # the method refused the others
                    where = float(params.get("checkpoint", 1.0))
                    best[where] = max(best.get(where, -1.0), lds)
            if len(best) > 1 and max(best.values()) > 0:
                fractions = sorted(best)
                (drawn[name],) = axes.plot(
                    fractions,
                    [best[at] / max(best.values()) for at in fractions],
                    color=colours[place % len(colours)],
                    marker=markers[place % len(markers)],
                    ms=4,
                    lw=1,
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks([1 / 16, 1 / 8, 1 / 4, 1], ["1/16", "1/8", "1/4", "1"])
        axes.set_title(method, fontsize=9)
        axes.set_xlabel("checkpoint, share of training")
    panels[0].set_ylim(-0.3, 1.05)  # the ratio says little where the best LDS is near 0
    panels[0].set_ylabel("LDS / LDS of the best checkpoint\n(tune queries; cut at −0.3)")
    figure.legend(drawn.values(), drawn, fontsize=7, loc="outside right center", frameon=False)
    return figure


def models(entries: Mapping[str, Entry], name: str = "fmnist2-resnet9") -> Figure:
    """Draw LDS against the number of trained models on one setting."""
    lds = {row[0]: row[1:] for row in entries[name]["lds"]}
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    lines = {
        "trak": [(1, "trak"), (2, "trak-2"), (5, "trak-5"), (10, "trak-10")],
        "graddot": [(1, "graddot"), (10, "graddot-10")],
        "ekfac": [(1, "ekfac"), (10, "ekfac-10")],
        "trak-dropout (one model, ten masks)": [(1, "trak-dropout")],
        "trak-lora (one model, ten adapters)": [(1, "trak-lora")],
        "datamodels (LASSO)": [(100, "datamodels")],
    }
    trained: set[int] = set()
    for label, places in lines.items():
        found = [(count, *lds[method]) for count, method in places if method in lds]
        if found:
            trained.update(count for count, *_ in found)
            counts, values, low, high = np.array(found).T
            axes.errorbar(counts, values, [values - low, high - values], marker="o", ms=4, lw=1, label=label)
    for key, style in CEILINGS.items():
        if entries[name][key] is not None:
            axes.axhline(entries[name][key], color="black", lw=1, ls=style)
    axes.set_xscale("log")
    axes.set_xticks(sorted(trained), [str(count) for count in sorted(trained)])
    axes.minorticks_off()
    axes.set_xlabel("models trained")
    axes.set_ylabel("LDS")
    figure.legend(fontsize=7, loc="outside upper center", ncols=3, frameon=False)
    return figure


def spoken_opponents(entries: Mapping[str, Entry], name: str = "speech-intents") -> Figure:
    """Draw which labels the strongest opponents of each intent have."""
    found = entries[name]["opponents"]
    shares = np.array([[np.nan if value is None else value for value in row] for row in found["shares"]])
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    image = axes.imshow(shares, cmap="magma_r", vmin=0)
    axes.set_xticks(range(len(shares)), found["classes"], rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(shares)), found["classes"], fontsize=7)
    axes.set_xlabel("label of the opponent")
    axes.set_ylabel("label of the query")
    for row, column in np.argwhere(shares >= 0.005):
        axes.text(
            column,
            row,
            f"{shares[row, column]:.2f}"[1:] if shares[row, column] < 1 else "1",
            ha="center",
            va="center",
            fontsize=6,
            color="white" if shares[row, column] > np.nanmax(shares) / 2 else "black",
        )
    figure.colorbar(image, label=f"share of the ten strongest opponents ({found['method']})", shrink=0.8)
    return figure


FOUND = (5, 10, 20, 30)
LABELS = (
    "random",
    "trak-10",
    "trak",
    "rps",
    "dualda",
    "if-exact",
    "if-cg",
    "ekfac",
    "graddot",
    "tracin",
    "el2n",
    "aum",
)
TEXT = (
    "spam-words",
    "newsgroups-minilm",
    "shakespeare-gpt",
    "facts-seq2seq",
    "chorales-transformer",
    "clipart-clip",
)
COMPARED = (
    "bm25",
    "tfidf",
    "similarity-cosine",
    "graddot",
    "tracin",
    "ekfac",
    "ekfac-10",
    "trackstar",
    "trak",
    "trak-10",
)
DUALDA = ("dualda", "rps", "similarity-cosine", "trak", "ekfac", "if-cg", "if-exact")


def mislabelled(entries: Mapping[str, Entry]) -> Figure:
    """Draw the share of flipped labels that is found against the share of the training examples inspected."""
    names = [name for name in entries if name.endswith("-noisy")]
    figure, panels = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    colours = mpl.color_sequences["tab20"]
    drawn: dict[str, plt.Line2D] = {}
    for axes, name in zip(panels[0], names, strict=True):
        for place, method in enumerate(LABELS):
            found = entries[name]["mislabel"].get(method)
            if found:
                shares = [found[f"mislabel_found_{percent}"] for percent in FOUND]
                (drawn[method],) = axes.plot(
                    [0, *FOUND], [0, *shares], color=colours[place], marker="o", ms=3, lw=1
                )
        axes.plot([0, 10, 30], [0, 1, 1], ":", color="black", lw=1)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("% of the training examples inspected")
    panels[0][0].set_ylabel("share of flipped labels found;\ndotted: perfect")
    figure.legend(drawn.values(), drawn, fontsize=7, loc="outside right center", frameon=False)
    return figure


def dual_variables(entries: Mapping[str, Entry]) -> Figure:
    """Draw the LDS of DualDA next to other methods of the last layer and to influence functions."""
    names = [name for name, entry in entries.items() if any(row[0] == "dualda" for row in entry["lds"])]
    return _bars(entries, names, list(DUALDA), "LDS")


def text_settings(entries: Mapping[str, Entry]) -> Figure:
    """Draw the LDS of word overlap, gradients, EK-FAC and TRAK on texts, music and pairs."""
    return _bars(entries, [name for name in TEXT if name in entries], list(COMPARED), "LDS")


FIGURES: dict[str, tuple[Callable[[Mapping[str, Entry]], Figure], tuple[str, ...]]] = {
    "settings": (overview, ()),
    "stages": (stages, STAGES[1:]),
    "averages": (averages, ()),
    "mislabelled": (mislabelled, ()),
    "dualda": (dual_variables, ()),
    "early-checkpoints": (early_checkpoints, ()),
    "models-resnet9": (models, ("fmnist2-resnet9",)),
    "models-minilm": (lambda entries: models(entries, "newsgroups-minilm"), ("newsgroups-minilm",)),
    "text": (text_settings, ("spam-words",)),
    "facts": (known_sources, ("facts-seq2seq",)),
    "airrep": (learned_encoders, ("newsgroups-minilm",)),
    "spoken-opponents": (spoken_opponents, ("speech-intents",)),
}
"""Figures by the name of their file, and the settings without which one cannot be drawn."""


def main() -> None:
    """Write every figure whose settings are recorded."""
    mpl.rcParams["svg.hashsalt"] = "settings"
    entries = {
        path.stem: json.loads(path.read_text())
        for path in sorted((ROOT / "docs/data/settings").glob("*.json"))
    }
    for name, (draw, needed) in FIGURES.items():
        if all(setting in entries for setting in needed):
            figure = draw(entries)
            figure.savefig(ROOT / f"docs/images/{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
