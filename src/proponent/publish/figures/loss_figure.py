"""Loss figure: training loss of the members of the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from proponent.publish.figures.style import BLUE, GREY, VERMILION, heading, new_figure, plain, styled

_WIDE = 5.0
"""Positive losses whose range exceeds this ratio are shown on a logarithmic axis."""


@styled
def draw(setting: str, trainings: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the training loss of every member, their mean, and the steps at which checkpoints were saved.

    Args:
        setting: name of the setting.
        trainings: contents of ``training.json`` of the members; uses ``loss``, ``loss_steps`` (optimiser steps of
            these losses) and ``steps`` (optimiser steps of the checkpoints). Members that were trained elsewhere have no
            losses and are not drawn.
    """
    known = [training for training in trainings if "loss" in training]
    reason = "The losses of members that were trained elsewhere are not known." if trainings else ""
    trainings = known
    figure = new_figure(3.9)
    members = f"{len(trainings)} members" if len(trainings) != 1 else "1 member"
    heading(
        figure,
        f"{setting}: training of the ensemble",
        f"Training loss of {members} (thin) and their mean (thick).\n"
        "Triangles: saved checkpoints, log-spaced because early checkpoints matter to attribution.",
    )
    axes = figure.add_axes((0.085, 0.14, 0.83, 0.64))
    axes.set(xscale="log", xlabel="optimiser steps", ylabel="training loss")
    if not trainings:
        axes.text(
            0.5,
            0.5,
            reason or "No member has been trained.",
            transform=axes.transAxes,
            ha="center",
            color=GREY,
        )
        return figure
    steps, mean = average(trainings)
    faint = min(0.5, 3 / len(trainings))
    for training in trainings:
        axes.plot(training["loss_steps"], training["loss"], color=BLUE, lw=0.7, alpha=faint)
    axes.plot(steps, mean, color=BLUE, lw=2)
    saved = sorted({step for training in trainings for step in training["steps"]})
    axes.plot(saved, np.zeros(len(saved)), "^", ms=6, color=VERMILION, clip_on=False, zorder=3,
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.annotate(
        f"{mean[-1]:.3g}",
        (steps[-1], mean[-1]),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        size=9,
        color=BLUE,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if mean.min() > 0 and mean.max() > _WIDE * mean.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=15))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    plain(axes)
    axes.spines["left"].set_color(GREY)
    return figure


def average(trainings: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of the first member and the mean loss over members, interpolated at these steps."""
    steps = np.asarray(trainings[0]["loss_steps"], dtype=np.float64)
    curves = [np.interp(steps, training["loss_steps"], training["loss"]) for training in trainings]
    return steps, np.mean(curves, axis=0)
