"""Figures of one recorded setting on texts each, drawn by ``python benchmarks/settings_figures.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

Entry = Mapping[str, Any]
LEARNED = ("airrep", "airrep-text")


def known_sources(entries: Mapping[str, Entry], name: str = "facts-seq2seq") -> Figure:
    """Draw how well methods find the texts that state a fact, what a step on these changes, and the LDS."""
    found = entries[name]["retrieval"]
    lds = {method: values for method, *values in entries[name]["lds"]}
    methods = sorted(found, key=lambda method: found[method]["mrr"][0])
    figure, panels = plt.subplots(
        1, 4, figsize=(12, 0.26 * len(methods) + 1.2), sharey=True, layout="constrained"
    )
    values_of = {
        "MRR": lambda method: found[method]["mrr"],
        "recall among the ten strongest": lambda method: found[method]["recall_10"],
        "tail-patch: gain of the target": lambda method: found[method].get("tail_patch"),
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
    """Draw LDS and the seconds of attribution, AirRep next to all other methods."""
    seconds = entries[name]["attribution_seconds"]
    lds = {method: values for method, *values in entries[name]["lds"]}
    methods = sorted(lds, key=lambda method: lds[method][0])
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 0.2 * len(methods) + 1.0), sharey=True, layout="constrained"
    )
    for row, method in enumerate(methods):
        value, low, high = lds[method]
        colour = "tab:red" if method in LEARNED else "tab:blue"
        left.plot([low, high], [row, row], color=colour, lw=1)
        left.plot(value, row, "o", color=colour, ms=4)
        right.plot(seconds[method], row, "o", color=colour, ms=4)
    left.axvline(0, color="0.8", lw=0.8, zorder=0)
    left.axvline(entries[name]["ceiling"], color="black", lw=1)
    left.set_xlabel(f"LDS on {name}; line: ceiling")
    left.set_yticks(range(len(methods)), methods, fontsize=8)
    right.set_xscale("log")
    right.set_xlabel("seconds of attribution, without training;\nred: learned from retrainings")
    return figure
