r"""LDS for one model's seeds against the share of examples removed: the reach of the derivatives of a training.

    python benchmarks/removed_fraction.py                    # in a clone; writes removed-fraction.json
    python benchmarks/removed_fraction.py --draw docs/images/removed-fraction.svg

For each share, `snakemake` retrains the first member of `digits-mlp-smooth` on a hundred subsets without that share of
the examples, with its own initialisation and batches, and evaluates the methods on the test queries. Their scores are
computed once. The measurement takes about one minute on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from proponent.publish.figures.style import (
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    heading,
    new_figure,
    plain,
    render,
    styled,
)

SETTING = "digits-mlp-smooth"
METHODS = {"magic": VERMILION, "dvemb": SKY, "if-exact": BLUE, "source": GREEN, "graddot": GREY}
REMOVED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
RESULT = Path("removed-fraction.json")
METRIC = "lds_fixed_seed"


def measure(removed: float) -> dict[str, dict[str, float]]:
    """Return the LDS of each method with its interval, for this share of removed examples."""
    design = {"subsets_fixed_seed": {"fraction": round(1 - removed, 4)}}
    config = {
        "settings": [SETTING],
        "methods": list(METHODS),
        "metrics": ["lds-fixed-seed"],
        "overrides": {"settings": {SETTING: {"designs": design}}},
    }
    files = [f"results/{SETTING}/metrics/{method}.json" for method in METHODS]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--quiet", "--configfile", file.name, "--", *files]
        subprocess.run(command, check=True)  # noqa: S603
    found = {}
    for method, path in zip(METHODS, files, strict=True):
        metric = json.loads(Path(path).read_text())["metrics"][METRIC]
        found[method] = {name: round(metric[name], 4) for name in ("value", "ci_low", "ci_high")}
    return found


@styled
def draw(measured: dict[str, dict[str, dict[str, float]]]) -> bytes:
    """Return the figure, with a line and its intervals per method."""
    figure = new_figure(4.0)
    heading(
        figure,
        "Exact derivatives predict the effect of leaving a few examples out",
        f"LDS on {SETTING} for one model's seeds, against the share of examples removed; "
        "95 % intervals over subsets and queries.",
    )
    axes = figure.add_axes((0.08, 0.13, 0.9, 0.7))
    shares = [100 * float(share) for share in measured]
    for method, colour in METHODS.items():
        rows = [measured[share][method] for share in measured]
        low, value, high = ([row[name] for row in rows] for name in ("ci_low", "value", "ci_high"))
        axes.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(shares, value, marker="o", markersize=4, linewidth=1.3, color=colour, label=method)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("examples removed, %")
    axes.set_ylabel("LDS for one model's seeds")
    plain(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left", ncols=5)
    return render(figure, "svg", "LDS for one model's seeds against the share of examples removed")


def main() -> None:
    """Measure, or draw the measured values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", type=Path, help="SVG to write from removed-fraction.json")
    arguments = parser.parse_args()
    if arguments.draw:
        arguments.draw.write_bytes(draw(json.loads(RESULT.read_text())))
        return
    measured = {str(removed): measure(removed) for removed in REMOVED}
    RESULT.write_text(json.dumps(measured, indent=1) + "\n")
    for removed, methods in measured.items():
        print(f"{float(removed):5.0%}", *(f"{method} {row['value']:.3f}" for method, row in methods.items()))


if __name__ == "__main__":
    main()
