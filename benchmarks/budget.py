r"""What all additive methods cost together: each artefact behind their scores once, however many methods use it.

    M=$(python benchmarks/budget.py --methods)
    time snakemake --cores 2 --config 'settings=[mnist-lr,mnist-mlp]' "methods=[$M]"
    python benchmarks/budget.py mnist-lr mnist-mlp      # what of that time is the methods'

Additive methods are those whose scores are sums over examples and that neither retrain (datamodels, values by
retraining, AirRep) nor replay the training (``magic``): these have costs of their own, in the leaderboard. The ground
truth that evaluates is the benchmark's. Seconds come from the ledgers in the metrics files, that is from the manifests.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from proponent.config.benchmark import load_benchmark
from proponent.store.files import read_json

CORES = 2
APART = {"retrainings", "permutations", "replay"}
"""Needs of the methods that are not counted."""
NOT_HERE = {"tracin-we"}
"""Methods that cannot run on a model without word embeddings."""
AVERAGES = ["ekfac-10", "if-exact-10", "trak-10", "trak-20"]
"""Averages over members that are counted, in addition to the methods with a file."""


def additive(root: Path) -> list[str]:
    """Return the names of the additive methods that need no retraining and can run on these settings."""
    names = [*AVERAGES, *(path.stem for path in sorted((root / "configs/methods").glob("*.yaml")))]
    methods = load_benchmark(root, {"methods": names}).methods.values()
    return [
        m.name
        for m in methods
        if not APART & set(m.all_needs) and m.inputs is None and m.name not in NOT_HERE
    ]


def spent(
    root: Path, setting: str, methods: list[str]
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Return (attribution, total) seconds by method, and the seconds of each artefact behind any of them."""
    by_method, artefacts = {}, {}
    for method in methods:
        path = root / f"results/{setting}/metrics/{method}.json"
        if not path.is_file():
            continue
        cost = read_json(path)["cost"]
        by_method[method] = (cost["attribution_seconds"], cost["total_seconds"])
        artefacts |= {name: entry["seconds"] for name, entry in cost["ledger"].items()}
    return by_method, artefacts


def main() -> None:
    """Print a table for each setting and the sum over all."""
    parser = argparse.ArgumentParser(description="What all additive methods cost together.")
    parser.add_argument("settings", nargs="*")
    parser.add_argument(
        "--methods", action="store_true", help="print the methods' names, with commas between"
    )
    given = parser.parse_args()
    root = Path.cwd()
    methods = additive(root)
    if given.methods:
        print(",".join(methods))
        return
    everything = 0.0
    for setting in given.settings:
        by_method, artefacts = spent(root, setting, methods)
        print(f"{setting}\n{'':20} {'attribution':>12} {'total':>9}")
        for method, (attribution, total) in sorted(by_method.items(), key=lambda item: -item[1][1]):
            print(f"{method:20} {attribution:11.2f}s {total:8.1f}s")
        together = sum(artefacts.values())
        everything += together
        print(
            f"together, shared artefacts once: {together:.0f} s; not run: {set(methods) - set(by_method) or '-'}\n"
        )
    print(f"all settings: {everything:.0f} s of jobs, {everything / CORES / 60:.1f} min on {CORES} cores")


if __name__ == "__main__":
    main()
