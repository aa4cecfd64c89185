"""``proponent provenance``: how an artefact was made, and the reasons for which Snakemake would make it again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.formatting import size
from proponent.inspection.closure import closure
from proponent.plan.graph import Graph, Node
from proponent.store.files import read_json
from proponent.store.manifest import SUFFIX, Manifest, check_bytes, find_manifest, read_manifest

_LONG = 100
"""Characters after which a value is cut; the manifest has the whole value."""


def artefact_of(graph: Graph, path: Path) -> str:
    """Return the artefact to which a file belongs, as the artefact itself, a part, a manifest or a key file.

    Args:
        graph: the graph of the current configuration.
        path: any file of ``results/``, whether it exists yet or not.

    Raises:
        UserError: the file belongs to no artefact; the message has the nearest name.
    """
    name = Path(os.path.relpath(path.absolute(), graph.root)).as_posix().removesuffix(SUFFIX)
    if name in graph.nodes:
        return name
    if "/keys/" in name and (graph.root / name).exists():
        return str(read_json(graph.root / name)["artefact"])
    manifest = read_manifest(graph.root / name)
    if manifest is None:
        raise UserError(f"{name}: no result has this name{_hint(name, graph)}")
    return str(manifest.details.get("part_of", name))


def _hint(name: str, graph: Graph) -> str:
    below = [path for path in graph.nodes if path.startswith(f"{name.rstrip('/')}/")]
    if below:
        return f"; it is a folder, so name a file in it, for example {below[0]}"
    near = nearest(name, list(graph.nodes))
    return near if "did you mean" in near else "; results are below results/"


def provenance_lines(graph: Graph, artefact: str) -> list[str]:
    """Return lines that report how an artefact was made, its inputs and cost, and whether it is current.

    Args:
        graph: the graph of the current configuration.
        artefact: path relative to the checkout.
    """
    node, manifest = graph.nodes.get(artefact), read_manifest(graph.root / artefact)
    lines = [artefact, ""]
    if manifest is not None:
        lines += _history(graph, artefact, manifest)
    elif node is not None:
        lines += [f"not made yet; `proponent {node.step}` makes it", ""]
        lines += ["made from", *(f"  {name}" for name in node.inputs), ""] if node.inputs else []
        lines += ["configuration", *(f"  {line}" for line in _settings(node.content)), ""]
    if node is None:
        return [
            *lines,
            "not in the current configuration: snakemake does not make it, and proponent prune removes it",
        ]
    causes = list(why_again(graph, artefact))
    if causes:
        return [
            *lines,
            "not current: snakemake would make it again because",
            *(f"  {cause}" for cause in causes),
        ]
    return [*lines, "current: snakemake would not make it again"]


def _history(graph: Graph, artefact: str, manifest: Manifest) -> list[str]:
    upstream = _upstream(graph.root, artefact)
    seconds = sum(made.seconds for made in upstream.values())
    size_of_all = f"{size(manifest.bytes)} in {1 + len(manifest.parts)} files"
    threads = f"{manifest.threads} thread{'s' * (manifest.threads > 1)}"
    step = "a rule of your own" if manifest.step == "adopt" else f"`proponent {manifest.step}`"
    seeds = {f"{made.spec['seed']} ({made.step})" for made in upstream.values() if "seed" in made.spec}
    rows = {
        "made by": f"{step}, {manifest.created_at}",
        "commit": manifest.commit or "not in a git repository",
        "device": f"{manifest.device or 'not recorded'}, {threads}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items())),
        "cost": f"{manifest.seconds:.2f} s and {manifest.peak_memory_mib:.0f} MiB of memory; "
        f"{seconds:.2f} s including everything upstream",
        "size": size_of_all,
        "seeds": ", ".join(sorted(seeds)) or "none",
        "code": f"{len(manifest.sources)} modules; the manifest has their digests",
        "key": manifest.key,
    }
    lines = [f"{name:9} {value}" for name, value in rows.items()] + [""]
    if manifest.inputs:
        lines += ["made from", *(f"  {name}" for name in manifest.inputs), ""]
    if manifest.files:
        lines += ["other files read", *(f"  {name}" for name in manifest.files), ""]
    lines += ["configuration", *(f"  {line}" for line in _settings(manifest.spec)), ""]
    notes = manifest.details.get("notes", [])
    if notes:
        lines += ["notes", *(f"  {note}" for note in notes), ""]
    details = {name: value for name, value in manifest.details.items() if name != "notes"}
    if details:
        lines += ["details", *(f"  {line}" for line in _settings(details)), ""]
    return lines


def _upstream(root: Path, artefact: str) -> dict[str, Manifest]:
    """Return the manifests of an artefact and of everything upstream of it, as far as they exist."""
    found: dict[str, Manifest] = {}

    def inputs_of(name: str) -> Iterable[str]:
        made = read_manifest(root / name)
        if made is None:
            return ()
        found[name] = made
        return made.inputs

    closure([artefact], inputs_of)
    return found


def _settings(content: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(content.items()):
        text = str(value)
        yield f"{name}: {text if len(text) <= _LONG else text[: _LONG - 2] + ' …'}"


def why_again(graph: Graph, artefact: str) -> Iterator[str]:
    """Yield why Snakemake would make an artefact again, one line per cause, including causes far upstream.

    Each cause is reported once, at the artefact where it arises, and not at the artefacts that only follow from it.
    """
    for name in closure([artefact], lambda path: graph.nodes[path].inputs):
        manifest = read_manifest(graph.root / name)
        if manifest is None:
            yield f"{name}: missing, or without a manifest"
            continue
        yield from _damage(graph.root, name)
        for upstream in manifest.remade_inputs(lambda path: find_manifest(graph.root / path)):
            yield f"{name}: was made from other bytes of {upstream}, which has been made again since"
        for difference in _differences(manifest, graph.nodes[name]):
            yield f"{name}: {difference}"


def _damage(root: Path, artefact: str) -> Iterator[str]:
    try:
        check_bytes(root, artefact)
    except UserError as error:
        yield str(error)


def _differences(manifest: Manifest, node: Node) -> Iterator[str]:
    """Yield how an artefact was made differently from how it would be made now, apart from changes of its inputs."""
    if manifest.step != node.step:
        yield f"was made by `proponent {manifest.step}`, now by `proponent {node.step}`"
    was, now = _leaves(manifest.spec), _leaves(node.content)
    for name in sorted({*was, *now}):
        if was.get(name) != now.get(name):
            yield f"{name} was {was.get(name, 'not set')}, is {now.get(name, 'not set')}"
    yield from _changed_digests("code", manifest.sources, node.sources)
    yield from _changed_digests("file", manifest.files, node.files)
    for name in sorted({*manifest.versions, *node.versions}):
        before, after = manifest.versions.get(name), node.versions.get(name)
        if before != after:
            yield f"{name} {before or '(not used)'} became {after or '(not used)'}"
    for name in node.inputs:
        if name not in manifest.inputs:
            yield f"{name} is a new input"
    for name in manifest.inputs:
        if name not in node.input_keys:
            yield f"{name} is no longer an input"


def _changed_digests(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"{what} {name} added"
        elif name not in after:
            yield f"{what} {name} removed"
        elif before[name] != after[name]:
            yield f"{what} {name} changed"


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten mappings to dotted names; lists are not flattened."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, entry in value.items()
        for name, leaf in _leaves(entry, f"{prefix}.{key}" if prefix else key).items()
    }
