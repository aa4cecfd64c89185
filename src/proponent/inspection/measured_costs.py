"""What earlier jobs cost, from manifests and from Snakemake's own benchmark files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.inspection.forecast import Cost, History
from proponent.plan.graph import Graph, Node
from proponent.store.manifest import SUFFIX, Manifest, read_manifest


@dataclass(frozen=True)
class _Made:
    """A job of which a manifest is left, maybe of an earlier configuration."""

    path: str
    step: str
    content: dict[str, Any]


def read_history(root: Path, graph: Graph, benchmark_of: Callable[[Node], str | None]) -> History:
    """Return what every job cost that left a manifest, of whatever key, or else a benchmark file.

    Args:
        root: the checkout.
        graph: of the current configuration.
        benchmark_of: where a job's benchmark lies.
    """
    history = History()
    for manifest in _manifests(root):
        cost = Cost(manifest.seconds, manifest.peak_memory_mib, manifest.bytes)
        history.add(_Made(manifest.artefact, manifest.step, manifest.spec), cost)
    for node in graph.nodes.values():
        if node.path in history.by_job:
            continue
        where = benchmark_of(node)
        measured = read_benchmark(root / where) if where else None
        if measured is not None:
            size = history.cost(node).bytes
            history.add(node, Cost(measured[0], measured[1], size))
    return history


def _manifests(root: Path) -> Iterator[Manifest]:
    for path in sorted((root / "results").rglob(f"*{SUFFIX}")):
        try:
            manifest = read_manifest(path.with_name(path.name.removesuffix(SUFFIX)))
        except UserError:
            continue  # `proponent verify` names it; here it only means one measurement less
        if manifest is not None and manifest.step and "part_of" not in manifest.details:
            yield manifest


def read_benchmark(path: Path) -> tuple[float, float] | None:
    """Return the seconds and peak memory in MiB that Snakemake measured; None where it did not."""
    try:
        names, values = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:2])
        measured: Mapping[str, str] = dict(zip(names, values, strict=True))
        memory = measured["max_rss"]
        return float(measured["s"]), 0.0 if memory in ("-", "NA") else float(memory)
    except (OSError, ValueError, KeyError):
        return None
