"""Modification times that follow content, set before Snakemake builds the DAG.

Current artefacts get old times, and stale artefacts a new key file. Snakemake then needs only its mtime trigger, on a
fresh clone as well as after a checkout of another revision, and none of its own metadata. Only the controller settles,
never a job.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from proponent.config.specifications.step_specs import AdoptSpec
from proponent.errors import UserError
from proponent.plan.artefact_paths import key_path
from proponent.plan.graph import Graph, Node
from proponent.store.files import read_json, write_json
from proponent.store.manifest import SUFFIX, is_whole, read_manifest

_EPOCH = 1_000_000_000
"""Any time in the past works. Current artefacts get this time plus one second per level of the DAG."""


def settle(graph: Graph) -> set[str]:
    """Bring key files and modification times in line with content.

    Returns:
        Paths of the current artefacts: complete, and made with the key of the current configuration.
    """
    return {path for path, node in graph.nodes.items() if _settle_node(graph.root, node)}


def _settle_node(root: Path, node: Node) -> bool:
    key_file = root / key_path(node.path)
    current = is_whole(root, node.path, node.key)
    content = node.key_content()
    if current:
        _write_if_changed(key_file, content)
        _set_time(key_file, _EPOCH)
        for name in _files(root, node):
            _set_time(root / name, _EPOCH + node.depth)
        return True
    # Snakemake ignores a newer input whose checksum it remembers, so the key file of a stale artefact gets new content.
    write_json(key_file, {**content, "asked": uuid.uuid4().hex})
    for name in _files(root, node):
        _set_time(root / name, _EPOCH - 1)
    return False


def _files(root: Path, node: Node) -> list[str]:
    try:
        manifest = read_manifest(root / node.path)
    except UserError:
        manifest = None
    # Without a manifest, or with that of another artefact, copied by hand, only the artefact itself is known.
    if manifest is None or manifest.artefact != node.path:
        return [node.path]
    # The manifest of adopted scores is the output of a rule, so its time matters to Snakemake as well.
    record = [f"{node.path}{SUFFIX}"] if isinstance(node.spec, AdoptSpec) else []
    return [*(file.path for file in manifest.all_files), *record]


def _write_if_changed(path: Path, content: dict[str, object]) -> None:
    if path.exists() and read_json(path) == content:
        return
    write_json(path, content)


def _set_time(path: Path, seconds: int) -> None:
    if path.exists() and path.stat().st_mtime_ns != seconds * 1_000_000_000:
        os.utime(path, (seconds, seconds))
