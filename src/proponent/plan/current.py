"""Current artefacts of a graph, found by their manifests alone."""

from __future__ import annotations

from collections.abc import Mapping, Set

from proponent.plan.graph import Graph, Node
from proponent.store.manifest import Manifest, find_manifest, is_whole


def read_manifests(graph: Graph) -> dict[str, Manifest]:
    """Return the manifest of every artefact that has one of its own, by path."""
    found = {path: find_manifest(graph.root / path) for path in graph.nodes}
    # A manifest copied by hand from another artefact describes that one.
    return {path: made for path, made in found.items() if made is not None and made.artefact == path}


def current_artefacts(graph: Graph, manifests: Mapping[str, Manifest] | None = None) -> set[str]:
    """Return the paths of the artefacts that are current; no file is changed.

    These are whole, and were made with the key of the configuration from the bytes that their inputs have now.

    Args:
        graph: the graph of the configuration.
        manifests: result of :func:`read_manifests`, if it is known already.
    """
    made = read_manifests(graph) if manifests is None else manifests
    found = {
        path
        for path, manifest in made.items()
        if manifest.key == graph.nodes[path].key
        and is_whole(graph.root, manifest)
        and not manifest.remade_inputs(made.get)
    }
    marks = {path for path in found if "left_out" in made[path].details}
    for path in [path for path in graph.nodes if path in marks]:
        if not _is_still_left_out(graph.nodes[path], made, found, marks):
            found.remove(path)
            marks.remove(path)
    return found


def _is_still_left_out(node: Node, made: Mapping[str, Manifest], current: Set[str], marks: Set[str]) -> bool:
    """Return whether the reason in place of an artefact holds.

    That is, the check of the setting gives it, or an input is a mark, or it is the memory, which is part of the key.
    """
    if made[node.path].details.get("left_out_for_memory"):
        return True
    uses = node.content.get("uses", [node.content.get("kind")])
    reasons = [
        made[check].details.get("unusable", {}).get(use)
        for check in current & set(node.after)
        for use in uses
    ]
    return made[node.path].details["left_out"] in reasons or not marks.isdisjoint(node.inputs)


def with_downstream(graph: Graph, paths: Set[str]) -> set[str]:
    """Return artefacts together with everything that is made from them."""
    found = set(paths)
    for path, node in graph.nodes.items():
        if not found.isdisjoint(node.inputs):
            found.add(path)
    return found
