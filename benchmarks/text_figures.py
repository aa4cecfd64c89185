"""Figures over the recorded settings on texts, drawn by ``python benchmarks/settings_figures.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

Entry = Mapping[str, Any]
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
LEARNED = ("airrep", "airrep-text")


def text_settings(entries: Mapping[str, Entry]) -> Figure:
    """Draw the LDS of word overlap, gradients, EK-FAC and TRAK on texts, music and pairs."""
    names = [name for name in TEXT if name in entries]
    figure, axes = plt.subplots(figsize=(max(7, 2.2 * len(names) + 2), 3.6), layout="constrained")
    width, colours = 0.84 / len(COMPARED), mpl.color_sequences["tab10"]
    for place, method in enumerate(COMPARED):
        found = [
            (row - 0.42 + (place + 0.5) * width, *values)
            for row, name in enumerate(names)
            for other, *values in entries[name]["lds"]
            if other == method
        ]
        if found:
            at, values, low, high = np.array(found).T
            axes.bar(
                at, values, width, yerr=[values - low, high - values], color=colours[place], label=method,
                error_kw={"lw": 0.8},
            )  # fmt: skip
    for row, name in enumerate(names):
        axes.plot([row - 0.44, row + 0.44], [entries[name]["ceiling"]] * 2, color="black", lw=1)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("LDS; line: ceiling")
    axes.legend(fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.24), frameon=False)
    return figure


def known_sources(entries: Mapping[str, Entry], name: str = "facts-seq2seq") -> Figure:
    """Draw how well methods find the texts that state a fact, and how well they predict retraining."""
    found = entries[name]["retrieval"]
    lds = {method: values for method, *values in entries[name]["lds"]}
    methods = sorted(found, key=lambda method: found[method]["mrr"][0])
    figure, panels = plt.subplots(
        1, 3, figsize=(10, 0.26 * len(methods) + 1.2), sharey=True, layout="constrained"
    )
    values_of = {
        "MRR": lambda method: found[method]["mrr"],
        "recall among the ten strongest": lambda method: found[method]["recall_10"],
        "LDS": lambda method: lds.get(method),
    }
    for axes, (label, value_of) in zip(panels, values_of.items(), strict=True):
        for row, method in enumerate(methods):
            if value_of(method):
                value, low, high = value_of(method)
                axes.plot([low, high], [row, row], color="tab:blue", lw=1)
                axes.plot(value, row, "o", color="tab:blue", ms=4)
        axes.axvline(0, color="0.8", lw=0.8, zorder=0)
        axes.set_xlabel(label)
    panels[0].set_yticks(range(len(methods)), methods, fontsize=8)
    return figure


def learned_encoders(entries: Mapping[str, Entry], name: str = "newsgroups-minilm") -> Figure:
    """Draw LDS against the seconds of attribution, AirRep next to all other methods."""
    seconds = entries[name]["attribution_seconds"]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for method, value, low, high in entries[name]["lds"]:
        if method == "random":
            continue
        colour = "tab:red" if method in LEARNED else "tab:blue"
        at = max(seconds[method], 0.01)
        axes.errorbar(at, value, [[value - low], [high - value]], marker="o", ms=4, lw=1, color=colour)
        axes.annotate(method, (at, value), (4, 2), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.axhline(entries[name]["ceiling"], color="black", lw=1)
    axes.set_xlabel("seconds of attribution, without training; red: learned from 100 retrainings")
    axes.set_ylabel(f"LDS on {name}; line: ceiling")
    return figure
