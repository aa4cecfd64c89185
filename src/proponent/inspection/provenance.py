"""Where an artefact comes from, in words, and why it would be made again, if it would."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.plan.graph import Graph, Node
from proponent.store.files import read_json
from proponent.store.manifest import SUFFIX, Manifest, check_bytes, read_manifest

_LONG = 100
"""Characters of a value beyond which it is cut: whole values are in the manifest."""


def artefact_of(graph: Graph, path: Path) -> str:
    """Return the artefact that a file belongs to: itself, that of which it is a part, manifest or key file.

    Args:
        graph: of the current configuration.
        path: any file of ``results/``, made or not.

    Raises:
        UserError: it belongs to none; the message has the nearest name.
    """
    name = Path(os.path.relpath(path.absolute(), graph.root)).as_posix().removesuffix(SUFFIX)
    if name in graph.nodes:
        return name
    if "/keys/" in name and (graph.root / name).exists():
        return str(read_json(graph.root / name)["artefact"])
    manifest = read_manifest(graph.root / name)
    if manifest is None:
        raise UserError(f"{name}: no result is called that{_hint(name, graph)}")
    return str(manifest.details.get("part_of", name))


def _hint(name: str, graph: Graph) -> str:
    below = [path for path in graph.nodes if path.startswith(f"{name.rstrip('/')}/")]
    if below:
        return f", it is a folder; name a file in it, such as {below[0]}"
    near = nearest(name, list(graph.nodes))
    return near if "did you mean" in near else "; they lie below results/"


def explain(graph: Graph, artefact: str) -> list[str]:
    """Return the lines that say how an artefact was made, from what, at what cost, and whether it would be again."""
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
            "no current configuration makes it: snakemake would not, and proponent prune removes it",
        ]
    causes = list(why_again(graph, artefact))
    if causes:
        return [*lines, "snakemake would make it again, because", *(f"  {cause}" for cause in causes)]
    return [*lines, "current: snakemake would leave it as it is"]


def _history(graph: Graph, artefact: str, manifest: Manifest) -> list[str]:
    upstream = _upstream(graph.root, artefact, manifest)
    seconds = sum(made.seconds for made in upstream.values())
    size = f"{manifest.bytes / 2**20:.2f} MiB in {1 + len(manifest.parts)} files"
    threads = f"{manifest.threads} thread{'s' * (manifest.threads > 1)}"
    step = "a rule of your own" if manifest.step == "adopt" else f"`proponent {manifest.step}`"
    seeds = {name: made.spec["seed"] for name, made in upstream.items() if "seed" in made.spec}
    rows = {
        "made by": f"{step}, {manifest.created_at}",
        "commit": manifest.commit or "not in a git repository",
        "device": f"{manifest.device or 'not recorded'}, {threads}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items())),
        "cost": f"{manifest.seconds:.2f} s and {manifest.peak_memory_mib:.0f} MiB of memory; "
        f"{seconds:.2f} s with everything that it was made from",
        "size": size,
        "seeds": ", ".join(sorted({f"{seed} ({upstream[name].step})" for name, seed in seeds.items()}))
        or "none",
        "code": f"{len(manifest.sources)} modules; their digests are in the manifest",
        "key": manifest.key,
    }
    lines = [f"{name:9} {value}" for name, value in rows.items()] + [""]
    if manifest.inputs:
        lines += ["made from", *(f"  {name}" for name in manifest.inputs), ""]
    if manifest.files:
        lines += ["beside them it read", *(f"  {name}" for name in manifest.files), ""]
    lines += ["configuration", *(f"  {line}" for line in _settings(manifest.spec)), ""]
    if manifest.details:
        lines += ["it noted", *(f"  {line}" for line in _settings(manifest.details)), ""]
    return lines


def _upstream(root: Path, artefact: str, manifest: Manifest) -> dict[str, Manifest]:
    found = {artefact: manifest}
    pending = list(manifest.inputs)
    while pending:
        name = pending.pop()
        made = read_manifest(root / name) if name not in found else None
        if made is not None:
            found[name] = made
            pending += made.inputs
    return found


def _settings(content: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(content.items()):
        text = str(value)
        yield f"{name}: {text if len(text) <= _LONG else text[: _LONG - 2] + ' …'}"


def why_again(graph: Graph, artefact: str, _seen: set[str] | None = None) -> Iterator[str]:
    """Yield why Snakemake would make an artefact again, a line for each cause, those far upstream included.

    A cause is named once, where it arises; what only follows from it is not repeated.
    """
    seen = _seen if _seen is not None else set()
    if artefact in seen:
        return
    seen.add(artefact)
    node = graph.nodes[artefact]
    manifest = read_manifest(graph.root / artefact)
    if manifest is None:
        yield f"{artefact}: is not there, or has no manifest"
    else:
        yield from _damage(graph.root, artefact)
        for difference in _differences(manifest, node):
            yield f"{artefact}: {difference}"
    for name in node.inputs:
        yield from why_again(graph, name, seen)


def _damage(root: Path, artefact: str) -> Iterator[str]:
    try:
        check_bytes(root, artefact)
    except UserError as error:
        yield str(error)


def _differences(manifest: Manifest, node: Node) -> Iterator[str]:
    """Yield what differs between how an artefact was made and how it would be, inputs' own changes apart."""
    if manifest.step != node.step:
        yield f"was made by `proponent {manifest.step}`, now by `proponent {node.step}`"
    was, now = _leaves(manifest.spec), _leaves(node.content)
    for name in sorted({*was, *now}):
        if was.get(name) != now.get(name):
            yield f"{name} was {was.get(name, 'not set')}, is {now.get(name, 'not set')}"
    for what, before, after in (
        ("code", manifest.sources, node.sources),
        ("file", manifest.files, node.files),
    ):
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                change = (
                    "changed" if name in before and name in after else "added" if name in after else "gone"
                )
                yield f"{what} {name} {change}"
    for name in sorted({*manifest.versions, *node.versions}):
        before_version, after_version = manifest.versions.get(name), node.versions.get(name)
        if before_version != after_version:
            yield f"{name} {before_version or '(not used)'} became {after_version or '(not used)'}"
    for name in node.inputs:
        if name not in manifest.inputs:
            yield f"{name} is a new input"
    for name in manifest.inputs:
        if name not in node.input_keys:
            yield f"{name} is no longer an input"


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten mappings to dotted names; lists stay whole."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, entry in value.items()
        for name, leaf in _leaves(entry, f"{prefix}.{key}" if prefix else key).items()
    }
