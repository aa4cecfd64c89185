"""Costs of earlier jobs, from manifests and from Snakemake's own benchmark files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.inspection.forecast import Cost, History
from proponent.plan.graph import Graph, Node
from proponent.store.manifest import SUFFIX, Manifest, read_manifest
from proponent.store.snakemake_benchmark import read_benchmark


@dataclass(frozen=True)
class _Made:
    """A job that left a manifest, perhaps of an earlier configuration."""

    path: str
    step: str
    content: dict[str, Any]


def read_history(root: Path, graph: Graph, benchmark_of: Callable[[Node], str | None]) -> History:
    """Return the cost of every job that left a manifest, under any key, or else a benchmark file.

    Args:
        root: the checkout.
        graph: the graph of the current configuration.
        benchmark_of: function that returns the path of a job's benchmark file.
    """
    history = History()
    for manifest in _manifests(root):
        cost = Cost(manifest.seconds, manifest.peak_memory_mib, manifest.bytes)
        history.add(_Made(manifest.artefact, manifest.step, manifest.spec), cost)
    for node in graph.nodes.values():
        if node.path in history.by_job:
            continue
        benchmark = benchmark_of(node)
        measured = read_benchmark(root / benchmark) if benchmark else None
        if measured is not None:
            seconds, memory_mib = measured
            history.add(node, Cost(seconds, memory_mib, history.cost(node).bytes))
    return history


def _manifests(root: Path) -> Iterator[Manifest]:
    for path in sorted((root / "results").rglob(f"*{SUFFIX}")):
        try:
            manifest = read_manifest(path.with_name(path.name.removesuffix(SUFFIX)))
        except UserError:
            continue  # `proponent verify` reports it; the forecast only has one measurement less.
        if manifest is not None and manifest.step and "part_of" not in manifest.details:
            yield manifest
