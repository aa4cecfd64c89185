"""Are the results what their manifests say, and what the configuration asks for? Reads every byte, changes none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from proponent.config.keys import content_key
from proponent.errors import UserError
from proponent.inspection.forecast import to_run
from proponent.plan.run_plan import Plan
from proponent.progress import progress
from proponent.store.manifest import SUFFIX, Manifest, check_bytes, manifest_path, read_manifest

_NAMED = 5
"""Of what is only noted, as many are named."""


@dataclass
class Verdict:
    """What :func:`verify` found."""

    artefacts: int
    files: int
    bytes: int
    faults: dict[str, list[str]]
    """By artefact, what is wrong with it, a line each that begins with a path; first causes come first."""
    tainted: dict[str, list[str]]
    """By artefact at fault that was made from no other at fault, what was made from it, directly or not."""
    orphans: list[str] = field(default_factory=list)
    """Artefacts that no current configuration makes; whole or not, nothing leans on them."""


def verify(root: Path, wanted: Mapping[str, str], paths: Iterable[Path] = ()) -> Verdict:
    """Check artefacts and everything that they were made from.

    Args:
        root: the checkout.
        wanted: key by path of every artefact that the current configuration and source make.
        paths: files or folders below ``root``; all of ``results/`` where there are none.

    Raises:
        UserError: a path is not there, or holds no artefact.
    """
    everything = _artefacts(root)
    chosen = _upstream(everything, _under(root, everything, list(paths)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda artefact: _faults(root, artefact, everything, wanted), chosen)
        checked = zip(chosen, progress(found, "verifying", len(chosen)), strict=True)
        found_faults = {artefact: lines for artefact, lines in checked if lines}
    tainted = _tainted(everything, found_faults)
    faults = dict(sorted(found_faults.items(), key=lambda fault: fault[0] not in tainted))
    present = [manifest for artefact in chosen if (manifest := everything[artefact]) is not None]
    return Verdict(
        artefacts=len(chosen),
        files=sum(1 + len(manifest.parts) for manifest in present),
        bytes=sum(manifest.bytes for manifest in present),
        faults=faults,
        tainted=tainted,
        orphans=[artefact for artefact in chosen if artefact not in wanted],
    )


def absent(plan: Plan, verdict: Verdict) -> list[str]:
    """Return the artefacts that the configuration asks for and that are not here: no fault, but not the whole benchmark."""
    asked = (node.path for node in to_run(plan.graph, plan.targets(), ()))
    return [
        path
        for path in asked
        if path not in verdict.faults and not manifest_path(plan.graph.root / path).exists()
    ]


def said_of(verdict: Verdict, not_here: list[str]) -> list[str]:
    """Return the lines that tell a person what was found, first causes first.

    Args:
        verdict: of :func:`verify`.
        not_here: what :func:`absent` returned.
    """
    lines = []
    for artefact, faults in verdict.faults.items():
        lines += faults
        if made := verdict.tainted.get(artefact):
            lines.append(f"  made from it: {', '.join(made)}")
    lines += _noted(verdict.orphans, "no current configuration makes it", "proponent prune removes them")
    lines += _noted(not_here, "is asked for by params.yaml and not here", "snakemake makes them")
    return lines


def _noted(artefacts: list[str], what: str, remedy: str) -> list[str]:
    lines = [f"note: {artefact}: {what}" for artefact in artefacts[:_NAMED]]
    if len(artefacts) > _NAMED:
        lines.append(f"note: and {len(artefacts) - _NAMED} more of which the same is true; {remedy}")
    return lines


def _artefacts(root: Path) -> dict[str, Manifest | None]:
    """Return all artefacts with their manifests, None where a manifest cannot be read; parts go with their artefact.

    What some manifest names as its input and is not there at all counts as an artefact without a manifest.
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
            raise UserError("results/: holds no artefact; run snakemake, dvc pull or proponent unpack first")
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
            raise UserError(f"{name}: no artefact is there, and none lies below it")
        chosen += inside
    return list(dict.fromkeys(chosen))


def _upstream(everything: Mapping[str, Manifest | None], chosen: list[str]) -> list[str]:
    seen: dict[str, None] = {}
    pending = list(chosen)
    while pending:
        artefact = pending.pop()
        if artefact not in seen:
            seen[artefact] = None
            manifest = everything[artefact]
            pending.extend(manifest.inputs if manifest else ())
    return sorted(seen)


def _tainted(everything: Mapping[str, Manifest | None], faults: Iterable[str]) -> dict[str, list[str]]:
    """Return what was made from each artefact at fault, those left out that were themselves made from another."""
    uses: dict[str, list[str]] = {}
    for name, manifest in everything.items():
        for source in manifest.inputs if manifest else ():
            uses.setdefault(source, []).append(name)
    made_from = {artefact: _downstream(uses, artefact) for artefact in faults}
    follows = set().union(*made_from.values())
    return {artefact: sorted(made) for artefact, made in made_from.items() if artefact not in follows}


def _downstream(uses: Mapping[str, list[str]], artefact: str) -> set[str]:
    made: set[str] = set()
    pending = [artefact]
    while pending:
        new = set(uses.get(pending.pop(), ())) - made
        made |= new
        pending += new
    return made


def _faults(
    root: Path, artefact: str, everything: Mapping[str, Manifest | None], wanted: Mapping[str, str]
) -> list[str]:
    manifest = everything[artefact]
    if manifest is None:
        there = manifest_path(root / artefact).exists()
        return [f"{artefact}: {'its manifest is not one' if there else 'missing, or without a manifest'}"]
    lines = []
    if manifest.artefact != artefact:
        lines.append(f"{artefact}: its manifest is that of {manifest.artefact}")
    elif manifest.seal != manifest.expected_seal():
        lines.append(f"{artefact}: its manifest was edited after it was written")
    elif manifest.key != _key(manifest):
        lines.append(f"{artefact}: its key does not follow from what its manifest says it was made from")
    else:
        lines += _bytes_at_fault(root, artefact) + _parts_at_fault(root, manifest)
    for name, key in manifest.inputs.items():
        upstream = everything.get(name)
        if upstream is not None and upstream.key != key:
            lines.append(f"{artefact}: was made from another {name} than the one that is there")
    if artefact in wanted and wanted[artefact] != manifest.key:
        lines.append(
            f"{artefact}: stale, the configuration or the source has changed since; snakemake makes it again"
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
            lines.append(f"{part.path}: its manifest is missing or not the one that was written")
    return lines
