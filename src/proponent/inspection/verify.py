"""``proponent verify``: compare results with their manifests and the configuration. Reads every byte, changes no file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from proponent.config.digests.keys import content_key
from proponent.errors import UserError
from proponent.inspection.closure import closure
from proponent.inspection.forecast import to_run
from proponent.plan.graph import Graph
from proponent.plan.run_plan import Plan
from proponent.progress import progress
from proponent.store.manifest import SUFFIX, Manifest, check_bytes, manifest_path, read_manifest

_NAMED = 5
"""Number of artefacts that are named per kind of note; the others are only counted."""


@dataclass
class Verdict:
    """Result of :func:`verify`."""

    artefacts: int
    files: int
    bytes: int
    faults: dict[str, list[str]]
    """Faults by artefact, one line each that begins with a path; artefacts without a faulty input come first."""
    tainted: dict[str, list[str]]
    """Everything downstream of each faulty artefact that has no faulty artefact upstream."""
    orphans: list[str] = field(default_factory=list)
    """Artefacts that are not in the current configuration."""
    partial: list[str] = field(default_factory=list)
    """Tables and figures that were made after a run with failures, without what failed."""


def verify(root: Path, wanted: Mapping[str, str], paths: Iterable[Path] = ()) -> Verdict:
    """Check artefacts and everything upstream of them.

    Args:
        root: the checkout.
        wanted: key by path of every artefact of the current configuration and source.
        paths: files or folders below ``root``; all of ``results/`` if there are none.

    Raises:
        UserError: a path does not exist, or contains no artefact.
    """
    everything = _artefacts(root)
    inputs = {name: tuple(manifest.inputs) if manifest else () for name, manifest in everything.items()}
    chosen = sorted(closure(_under(root, everything, list(paths)), inputs.__getitem__))
    partial = _partial(everything, inputs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda artefact: _faults(root, artefact, everything, wanted, partial), chosen)
        checked = zip(chosen, progress(found, "verifying", len(chosen)), strict=True)
        found_faults = {artefact: lines for artefact, lines in checked if lines}
    tainted = _tainted(inputs, found_faults)
    faults = dict(sorted(found_faults.items(), key=lambda fault: fault[0] not in tainted))
    present = [manifest for artefact in chosen if (manifest := everything[artefact]) is not None]
    return Verdict(
        artefacts=len(chosen),
        files=sum(1 + len(manifest.parts) for manifest in present),
        bytes=sum(manifest.bytes for manifest in present),
        faults=faults,
        tainted=tainted,
        orphans=[artefact for artefact in chosen if artefact not in wanted],
        partial=[artefact for artefact in chosen if artefact in partial],
    )


def absent(plan: Plan, verdict: Verdict) -> list[str]:
    """Return the artefacts of the configuration that do not exist yet.

    They are not faults: after a pull or an archive of one setting, the rest of the benchmark is missing.
    """
    asked = (node.path for node in to_run(plan.graph, plan.targets(), ()))
    return [
        path
        for path in asked
        if path not in verdict.faults and not manifest_path(plan.graph.root / path).exists()
    ]


def other_remedies(graph: Graph, targets: Iterable[str], faults: Iterable[str]) -> dict[str, str]:
    """Return what to do about faulty artefacts that ``snakemake`` does not make again, because no target needs them.

    Args:
        graph: the graph of the current configuration.
        targets: paths that ``snakemake`` makes.
        faults: paths of the faulty artefacts.
    """
    needed = {node.path for node in to_run(graph, targets, ())}
    return {
        path: f"`snakemake {path}` makes it again"
        if path in graph.nodes
        else "`proponent prune` removes what is left of it"
        for path in faults
        if path not in needed
    }


def report_lines(verdict: Verdict, missing: list[str], remedies: Mapping[str, str]) -> list[str]:
    """Return the lines that report faults and notes, first causes first.

    Args:
        verdict: result of :func:`verify`.
        missing: result of :func:`absent`.
        remedies: result of :func:`other_remedies`.
    """
    lines = []
    for artefact, faults in verdict.faults.items():
        lines += faults
        if artefact in remedies:
            lines.append(f"  nothing that snakemake makes needs it: {remedies[artefact]}")
        if made := verdict.tainted.get(artefact):
            lines.append(f"  downstream: {', '.join(made)}")
    lines += _notes(verdict.orphans, "not in the current configuration", "proponent prune removes them")
    lines += _notes(verdict.partial, "made without what failed", "snakemake makes them again")
    lines += _notes(missing, "in the current configuration, but not made yet", "snakemake makes them")
    return lines


def _partial(
    everything: Mapping[str, Manifest | None], inputs: Mapping[str, Iterable[str]]
) -> frozenset[str]:
    """Return the tables and figures that were made without what failed, and those made from them."""
    starts = [name for name, manifest in everything.items() if manifest and manifest.spec.get("failed")]
    uses = _uses(inputs)
    return frozenset(closure(starts, lambda name: uses.get(name, ())))


def _notes(artefacts: list[str], what: str, remedy: str) -> list[str]:
    lines = [f"note: {artefact}: {what}" for artefact in artefacts[:_NAMED]]
    if len(artefacts) > _NAMED:
        lines.append(f"note: and {len(artefacts) - _NAMED} more artefacts like these; {remedy}")
    return lines


def _artefacts(root: Path) -> dict[str, Manifest | None]:
    """Return the manifest of every artefact, None if it cannot be read; parts belong to their artefact.

    A missing input of some manifest counts as an artefact without a manifest.
    """
    found: dict[str, Manifest | None] = {}
    for path in sorted((root / "results").rglob(f"*{SUFFIX}")):
        artefact = path.with_name(path.name.removesuffix(SUFFIX))
        try:
            manifest = read_manifest(artefact)
        except UserError:
            manifest = None
        if manifest is None or "part_of" not in manifest.details:
            found[artefact.relative_to(root).as_posix()] = manifest
    for manifest in list(found.values()):
        for name in manifest.inputs if manifest else ():
            found.setdefault(name, None)
    return found


def _under(root: Path, everything: Mapping[str, Manifest | None], paths: list[Path]) -> list[str]:
    if not paths:
        if not everything:
            raise UserError(
                "results/: contains no artefact; run snakemake, dvc pull or proponent unpack first"
            )
        return list(everything)
    chosen = []
    for path in paths:
        name = Path(os.path.relpath(path.absolute(), root)).as_posix()
        inside = [
            artefact
            for artefact, manifest in everything.items()
            if f"{artefact}/".startswith(f"{name}/")
            or any(part.path == name for part in (manifest.parts if manifest else ()))
        ]
        if not inside:
            raise UserError(f"{name}: contains no artefact; check the path")
        chosen += inside
    return list(dict.fromkeys(chosen))


def _tainted(inputs: Mapping[str, Iterable[str]], faults: Iterable[str]) -> dict[str, list[str]]:
    """Return everything downstream of each faulty artefact, except for those that are themselves downstream of another."""
    uses = _uses(inputs)
    downstream = {
        artefact: set(closure(uses.get(artefact, ()), lambda name: uses.get(name, ()))) for artefact in faults
    }
    follows = set().union(*downstream.values())
    return {artefact: sorted(made) for artefact, made in downstream.items() if artefact not in follows}


def _uses(inputs: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return the artefacts that are made from each artefact."""
    uses: dict[str, list[str]] = {}
    for name, sources in inputs.items():
        for source in sources:
            uses.setdefault(source, []).append(name)
    return uses


def _faults(
    root: Path,
    artefact: str,
    everything: Mapping[str, Manifest | None],
    wanted: Mapping[str, str],
    partial: Collection[str],
) -> list[str]:
    manifest = everything[artefact]
    if manifest is None:
        malformed = manifest_path(root / artefact).exists()
        return [
            f"{artefact}: {'its manifest is malformed' if malformed else 'missing, or without a manifest'}"
        ]
    lines = []
    if manifest.artefact != artefact:
        lines.append(f"{artefact}: its manifest is that of {manifest.artefact}")
    elif manifest.seal != manifest.expected_seal():
        lines.append(f"{artefact}: its manifest was edited after it was written")
    elif manifest.key != _key(manifest):
        lines.append(f"{artefact}: its key does not match the inputs and configuration in its manifest")
    else:
        lines += _bytes_at_fault(root, artefact) + _parts_at_fault(root, manifest)
    remade = manifest.remade_inputs(everything.get)
    for name, key in manifest.inputs.items():
        upstream = everything.get(name)
        if upstream is not None and upstream.key != key:
            lines.append(f"{artefact}: was made from another version of {name}")
        elif name in remade:
            lines.append(
                f"{artefact}: was made from other bytes of {name}, which has been made again since; run snakemake again"
            )
    if artefact in wanted and wanted[artefact] != manifest.key and artefact not in partial:
        lines.append(
            f"{artefact}: stale, because the configuration or the source has changed; snakemake makes it again"
        )
    return lines


def _key(manifest: Manifest) -> str:
    return content_key(
        manifest.step,
        manifest.spec,
        manifest.sources,
        manifest.files,
        manifest.versions,
        manifest.inputs.values(),
    )


def _bytes_at_fault(root: Path, artefact: str) -> list[str]:
    try:
        check_bytes(root, artefact)
    except UserError as error:
        return [str(error)]
    return []


def _parts_at_fault(root: Path, manifest: Manifest) -> list[str]:
    lines = []
    for part in manifest.parts:
        try:
            record = read_manifest(root / part.path)
        except UserError:
            record = None
        fits = record is not None and record.seal == record.expected_seal()
        if record is None or not fits or (record.sha256, record.key) != (part.sha256, manifest.key):
            lines.append(f"{part.path}: its manifest is missing or was edited after it was written")
    return lines
