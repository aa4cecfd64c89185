"""Lines on the retrainings that metrics ask for, which ``proponent plan`` prints below its table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from proponent.config.benchmark_schema import MetricConfig
from proponent.config.specifications.derived_specs import DerivedTrainingSpec
from proponent.inspection.reported_jobs import units
from proponent.plan.artefact_paths import SHARED
from proponent.plan.graph import Node


def lines_on_retrainings(jobs: Iterable[Node], metrics: Mapping[str, MetricConfig]) -> Iterator[str]:
    """Yield one line per setting and metric that retrains: the models per method and for all methods, and their sum.

    Args:
        jobs: jobs of a run.
        metrics: metrics by name, with their budgets.
    """
    models: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in jobs:
        if isinstance(node.spec, DerivedTrainingSpec):
            path = PurePosixPath(node.path)
            source = path.stem.rpartition("-")[0]
            models[node.spec.setting, path.parts[-3]][source] += units(node)
    for (setting, metric), by_source in models.items():
        own = {source: count for source, count in by_source.items() if source != SHARED}
        budget = metrics[metric].budget.retrainings
        parts = []
        if own:
            plural = "s" if len(own) > 1 else ""
            parts.append(f"{max(own.values()):,} for each of {len(own)} method{plural} (budget {budget:,})")
        if SHARED in by_source:
            parts.append(f"{by_source[SHARED]:,} that all methods share")
        total = f": {sum(by_source.values()):,} in all" if len(parts) > 1 or len(own) > 1 else ""
        yield f"retrainings for {metric} on {setting}, at most {' and '.join(parts)}{total}"
