"""Figure of notes by time and pitch."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from proponent.publish.examples import PlayedNote
from proponent.publish.figures.style import BLUE, heading, new_figure, styled

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_HEIGHT = 2.6


@styled
def draw_piano_roll(notes: Sequence[PlayedNote], title: str) -> Figure:
    """Return a figure of notes, with beats as vertical lines and the names of the Cs.

    Args:
        notes: notes in any order.
        title: title of the figure.
    """
    figure = new_figure(_HEIGHT)
    heading(figure, title, "Time in quarter notes; one rectangle per note.")
    axes = figure.add_axes((0.07, 0.17, 0.91, 0.56))
    for note in notes:
        shape = Rectangle(
            (note.start / 4, note.pitch - 0.5), note.length / 4, 1.0, fc=BLUE, ec="white", lw=0.8
        )
        axes.add_patch(shape)
    pitches = [note.pitch for note in notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    end = max((note.start + note.length for note in notes), default=4) / 4
    axes.set(xlim=(0, end), ylim=(low, high), xticks=range(int(end) + 1))
    marked = [pitch for pitch in range(low, high + 1) if pitch % 12 in (0, 7)]
    axes.set_yticks(marked, [f"{_NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in marked])
    axes.grid(axis="both")
    return figure
