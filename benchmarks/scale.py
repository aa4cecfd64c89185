"""Cost of far larger problems than the default ones, by this code's own planner and shard arithmetic, and of the DAG itself.

python benchmarks/scale.py paper          three problems: jobs, GPU hours, bytes, peak memory
python benchmarks/scale.py measure        three small sizes: predicted and measured, and how both grow
python benchmarks/scale.py dag 100000     a dry run with so many jobs: time and memory of the planner and of Snakemake
python benchmarks/scale.py jobs 2         the default benchmark with jobs that sleep for two seconds: CPU seconds of
                                          Snakemake's main process per job; further arguments are passed to snakemake
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from dag_cost import dry_run, run_trivial_jobs
from scale_measured import measure
from scale_problems import METHODS, PROBLEMS, Sizes, cost_of, planned

from proponent.formatting import duration, size
from proponent.inspection.forecast import Resources, forecast, to_run
from proponent.plan.graph import Node


def paper() -> None:
    """Print a row for each problem."""
    print("| problem | jobs | GPU time | features | ground truth | all on disk | largest job | which |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for sizes in PROBLEMS:
        graph = planned(sizes)
        print(_row(sizes, to_run(graph.graph, graph.targets(), ()), sizes.name))


def _row(sizes: Sizes, jobs: list[Node], name: str) -> str:
    def rule_of(node: Node) -> str:
        return getattr(node.spec, "method", node.step)

    resources = {rule: Resources(gpu=1) for rule in ("train", "retrain", "featurize", *METHODS)}
    total = forecast(jobs, 0, lambda node: cost_of(sizes, node), rule_of, resources)
    rules = {rule.rule: rule for rule in total.rules}
    largest = max(total.rules, key=lambda rule: rule.memory_mib)
    hours = sum(rule.gpu_hours for rule in total.rules)
    cells = [
        name,
        str(total.jobs),
        duration(hours * 3600),
        size(rules["featurize"].bytes),
        size(rules["retrain"].bytes + rules["ground_truth"].bytes),
        size(sum(rule.bytes for rule in total.rules)),
        size(largest.memory_mib * 2**20),
        largest.rule,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    commands: dict[str, Callable[[], None]] = {
        "paper": paper,
        "measure": measure,
        "dag": lambda: dry_run(int(sys.argv[2])),
        "jobs": lambda: run_trivial_jobs(float(sys.argv[2]), *sys.argv[3:]),
    }
    chosen = commands.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if chosen is None:
        raise SystemExit(__doc__)
    chosen()
