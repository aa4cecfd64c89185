"""The table of layer kinds in ``docs/models.md``, from the cases that ``test_layers.py`` proves.

Usage: ``PYTHONPATH=src:tests python -m features.layer_table`` writes the page.
"""

from __future__ import annotations

import textwrap
import warnings
from itertools import groupby
from pathlib import Path

from features.layer_cases import CASES, ENGINES, LayerCase, inputs
from proponent.features.gradients.capture import Capture

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table of layer kinds: begin -->", "<!-- table of layer kinds: end -->"


def table() -> str:
    """Return the tables of all groups, and the list of refusals."""
    reasons: list[str] = []
    lines: list[str] = []
    for group, rows in groupby(CASES.items(), lambda row: row[1].group):
        lines += [f"### {group}", "", "| layer | " + " | ".join(ENGINES) + " | gradients |"]
        lines += ["|---" * (len(ENGINES) + 2) + "|"]
        for name, case in rows:
            cells = [_cell(case, engine, reasons) for engine in ENGINES]
            lines.append("| " + " | ".join([name, *cells, held(case)]) + " |")
        lines.append("")
    lines += ["### Refusals", ""]
    for number, reason in enumerate(reasons, 1):
        lines += textwrap.wrap(f"{number}. … {reason}", 120, subsequent_indent="   ")
    return "\n".join(lines)


def _cell(case: LayerCase, engine: str, reasons: list[str]) -> str:
    reason = case.refused.get(engine)
    if reason is None:
        return "works"
    if reason not in reasons:
        reasons.append(reason)
    return f"refused ({reasons.index(reason) + 1})"


def held(case: LayerCase) -> str:
    """Return how the gradients of a layer's parameters are held: factored, written out, or some of each."""
    if "capture" in case.refused:
        return "–"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        capture = Capture(case.build(), inputs(case.data)[0][:1])
    factored = {name for use in capture.uses for name in (use.weight, use.bias) if name is not None}
    kinds = {
        "factored": any(name.startswith("layer.") for name in factored - set(capture.dense)),
        "written out": any(name.startswith("layer.") for name in capture.dense),
    }
    return ", ".join(kind for kind, found in kinds.items() if found) or "–"


def with_table(page: str) -> str:
    """Return the text of the page with the table that is current."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
