"""The page docs/peers.md and its figure, from results.json."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median

import cells
from code_lines import lines_of
from results import Cell, Results
from sentences import BOUNDS, FOOT, HEAD, REASONS

DOCS = Path(__file__).parents[2] / "docs"
_TITLES = {"mlp": "mnist-mlp, 784-128-64-10", "conv": "two convolutions and one linear layer"}


def write_page(results: Results, folder: Path = DOCS) -> None:
    """Write the page and the figure."""
    (folder / "peers.md").write_text(page(results), encoding="utf-8")
    from figure import draw

    (folder / "images/peers.svg").write_bytes(draw(results))


def page(results: Results) -> str:
    """Return the page in Markdown."""
    parts = [_wrapped(HEAD.format(**_conditions(results))), _goals(results), BOUNDS]
    for size in ("large", "small"):
        for network in cells.NETWORKS:
            rows = list(_rows(results, network, size))
            if rows:
                n_train, n_query = cells.SIZES[size]
                parts.append(
                    f"## {_TITLES[network]}: {n_train:,} × {n_query}\n\n" + _HEADER + "\n".join(rows) + "\n"
                )
    parts.append("## Why scores differ\n\n" + "\n".join(_reasons(results)) + "\n")
    failed = [f"- `{name}`: {error}" for name, error in sorted(results.errors.items())]
    parts.append("## Not installed\n\n" + ("\n".join(failed) or "Every library could be installed.") + "\n")
    parts.append(FOOT)
    return "\n".join(parts)


_HEADER = (
    "| method | library | seconds (range) | × ours | peak MiB | lines | agreement with ours | with the dense reference |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|\n"
)


def _wrapped(text: str) -> str:
    """Return the text with its paragraph on the conditions, which has values in it, wrapped again."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        textwrap.fill(part, 118) if part.startswith("Conditions:") else part for part in paragraphs
    )


def _conditions(results: Results) -> dict[str, str]:
    machine = results.machine
    versions = [
        run["versions"]["torch"] for runs in results.runs.values() for run in runs if "versions" in run
    ]
    loads = []
    for size, (n_train, n_query) in cells.SIZES.items():
        found = [
            run["load"]
            for name, runs in results.runs.items()
            for run in runs
            if "load" in run and f"/{size}/" in name
        ]
        if found:
            loads.append(f"{median(found):.1f} at {n_train:,} × {n_query}")
    return {
        "processor": f"{machine.get('cores')} cores of {_processors(results)}",
        "threads": f"{machine.get('threads')} thread{'s' if machine.get('threads') != 1 else ''}",
        "torch": versions[0] if versions else "unknown",
        "load": " and ".join(loads) or "unknown",
    }


def _processors(results: Results) -> str:
    """Return the names of the processors, with the networks that were measured on each where there are several."""
    networks: dict[str, set[str]] = {}
    for name, runs in results.runs.items():
        for run in runs:
            networks.setdefault(run["processor"], set()).add(name.split("/")[0])
    if len(networks) == 1:
        return next(iter(networks))
    return " and ".join(f"{name} (`{'`, `'.join(sorted(own))}`)" for name, own in sorted(networks.items()))


def _goals(results: Results) -> str:
    titles = [f"{n_train:,} × {n_query}" for n_train, n_query in cells.SIZES.values()]
    lines = [f"| network | method | goal | {' | '.join(titles)} | reached |", "|---|---|---:|---|---|---|"]
    for network, (method, goal) in product(cells.NETWORKS, cells.GOALS.items()):
        known = {
            size: {
                library: ratio
                for library in cells.METHODS[method]
                if (ratio := results.ratio((network, size, method, library)))
            }
            for size in cells.SIZES
        }
        texts = [
            ", ".join(f"{name} {_times(ratio)}" for name, ratio in sorted(found.items()))
            for found in known.values()
        ]
        verdict = _reached(list((known["large"] or known["small"]).values()), goal)
        lines.append(f"| {network} | {method} | {goal} × | {' | '.join(texts)} | {verdict} |")
    return "\n".join(lines) + "\n"


def _reached(ratios: list[tuple[float, bool]], goal: float) -> str:
    """Return whether all libraries take ``goal`` times as long; a lower bound below it decides nothing."""
    if not ratios:
        return "not measured"
    if any(value < goal and not bound for value, bound in ratios):
        return "no"
    return "yes" if all(value >= goal for value, _ in ratios) else "not known: calls were ended before"


def _times(ratio: tuple[float, bool]) -> str:
    value, bound = ratio
    return f"{'> ' if bound else ''}{_short(value)} ×"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rows(results: Results, network: str, size: str) -> Iterator[str]:
    for method, libraries in cells.METHODS.items():
        for library in (cells.OURS, *libraries):
            cell = (network, size, method, library)
            if results.of(cell):
                yield _row(results, cell)


def _row(results: Results, cell: Cell) -> str:
    _, _, method, library = cell
    runs, seconds = results.of(cell), results.seconds(cell)
    ratio = results.ratio(cell)
    found = results.agreements.get("/".join(cell), {})
    measured = [run for run in runs if "seconds" in run]
    columns = [
        method,
        f"**{library}**" if library == cells.OURS else library,
        _seconds(seconds) if seconds else _failure(runs[-1]),
        "" if library == cells.OURS or ratio is None else _times(ratio),
        f"{max(run['peak_mib'] for run in measured):,.0f}" if measured else "",
        str(lines_of(library, method)),
        "" if library == cells.OURS else _correlation(found.get("ours")),
        _correlation(found.get("reference")),
    ]
    return f"| {' | '.join(columns)} |"


def _seconds(seconds: list[float]) -> str:
    text = f"{median(seconds):.3g}"
    return text if len(seconds) == 1 else f"{text} ({min(seconds):.3g}–{max(seconds):.3g})"


def _failure(run: dict) -> str:
    return f"> {run['limit']:g}" if "limit" in run else f"failed: {run['error'].replace('|', '/')}"


def _correlation(found: dict[str, float] | None) -> str:
    return f"{_digits(found['spearman'])} / {_digits(found['pearson'])}" if found else ""


def _digits(value: float) -> str:
    """Return a correlation with as many digits as differ from 1."""
    for digits in (2, 3, 4, 5, 6):
        text = f"{value:.{digits}f}"
        if value < 0.995 or float(text) < 1:
            return text
    return "1.000000"


def _reasons(results: Results) -> Iterator[str]:
    """Yield one item per method and reason, for the libraries that were measured."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for (method, library), reason in REASONS.items():
        if any(
            results.of((network, size, method, library)) for network in cells.NETWORKS for size in cells.SIZES
        ):
            grouped.setdefault((method, reason), []).append(library)
    for (method, reason), libraries in grouped.items():
        text = f"- **{method}** ({', '.join(libraries)}): {reason}"
        yield textwrap.fill(text, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
