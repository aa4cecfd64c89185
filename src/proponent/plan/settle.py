"""Modification times that agree with content, repaired before Snakemake builds the DAG.

Snakemake runs a job if an input is newer than the oldest output. Files keep the time at which they were written, except
where this would give a wrong answer. A file of a current artefact becomes at least as new as the inputs of its rule, a
key file of a current artefact at least as old as the artefact, and the key file of an artefact that has to be made again
is written anew. Snakemake then needs only its mtime trigger, on a fresh clone as well as after a checkout of another
revision or a touch, and none of its own metadata.

Other programs conclude from size and time that a file is unchanged, so two contents of one path never get the same whole
second (:mod:`proponent.plan.ledger`), and no time is later than now. Only the controller settles, never a job.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.specifications.method_specs import AdoptSpec
from proponent.errors import UserError
from proponent.plan.artefact_paths import key_path
from proponent.plan.current import current_artefacts, read_manifests, with_downstream
from proponent.plan.graph import Graph, Node
from proponent.plan.ledger import Ledger
from proponent.store.file_times import (
    SECOND,
    file_system_now,
    replace_by_copy,
    set_time,
    time_as_input,
    time_as_output,
)
from proponent.store.files import read_json, sha256, write_json
from proponent.store.manifest import SUFFIX, Manifest

LEDGER = "results/.times"
_COARSEST = 2 * SECOND
"""Coarsest granularity of times of a file system in use: that of FAT."""


def settle(graph: Graph) -> set[str]:
    """Bring key files and modification times in line with content.

    Returns:
        Paths of the current artefacts: complete, and made with the key of the current configuration from the bytes that
        their inputs have now.

    Raises:
        UserError: a file is of another user, has to get another time, and its folder is not writable.
    """
    (graph.root / "results").mkdir(exist_ok=True)
    manifests = read_manifests(graph)
    current = current_artefacts(graph, manifests)
    # What is made from an artefact that is missing or stale is asked for as well: its job finds out whether new bytes came.
    asked = with_downstream(graph, graph.nodes.keys() - current)
    ledger = Ledger.read(graph.root / LEDGER)
    settling = _Settling(graph.root, manifests, ledger, file_system_now(graph.root / "results"))
    for node in graph.nodes.values():
        if node.path in asked:
            settling.ask(node)
    settling.moved_shared = True
    while settling.moved_shared:  # a file that shares its inode with files settled before has moved them too
        settling.moved_shared = False
        for node in graph.nodes.values():
            if node.path not in asked:
                settling.keep(node)
    ledger.save()
    return current


@dataclass
class _Settling:
    root: Path
    manifests: dict[str, Manifest]
    ledger: Ledger
    now: int
    newest: dict[str, int] = field(default_factory=dict)
    """Time of the newest file of each kept artefact, as an input."""
    moved_shared: bool = False
    """Whether a file was moved that shares its inode with others."""

    def keep(self, node: Node) -> None:
        """Bring a current artefact in order: not older than what its rule reads, and not older than its key file."""
        manifest = self.manifests[node.path]
        earliest = max((self.newest[name] for name in node.upstream), default=0)
        oldest = min(self._move_forward(file.path, file.sha256, earliest) for file in manifest.all_files)
        for part in manifest.parts:
            self._move_forward(f"{part.path}{SUFFIX}", manifest.seal, 0)
        self.newest[node.path] = max(time_as_input(self.root / file.path) for file in manifest.all_files)
        record = f"{node.path}{SUFFIX}"
        if isinstance(node.spec, AdoptSpec):
            # Two rules make these scores: the user's own (see own_rules), and adopt, whose output is the manifest.
            self._move_forward(record, manifest.seal, self.newest[node.path])
            self.newest[record] = time_as_input(self.root / record)
        else:
            self._move_forward(record, manifest.seal, 0)
        content = _write_if_changed(self.root / key_path(node.path), node.key_content())
        self._move_back(key_path(node.path), content, oldest)

    def ask(self, node: Node) -> None:
        """Write the key file of an artefact anew, so that it is newer than the artefact."""
        key_file = self.root / key_path(node.path)
        # Snakemake ignores a newer input whose checksum it remembers, so the file gets new content each time.
        write_json(key_file, {**node.key_content(), "asked": uuid.uuid4().hex}, synced=False)
        older_than = {node.path: time_as_output(key_file)}
        if isinstance(node.spec, AdoptSpec):
            older_than[f"{node.path}{SUFFIX}"] = older_than[node.path]
            # The user's own rule reads no key file: it runs because its inputs are newer.
            inputs = [self.root / name for name in node.upstream]
            older_than[node.path] = min(
                [time_as_input(path) for path in inputs if path.exists()], default=self.now
            )
        for name, content in self._contents(node.path).items():
            if (self.root / name).exists():
                own = self._move_forward(name, content, 0)
                if own >= older_than.get(name, own + 1):
                    self._move_back(name, content, older_than[name] - _COARSEST)

    def _contents(self, artefact: str) -> dict[str, str]:
        """Return what identifies the content of each file and manifest of an artefact; nothing where that is unknown."""
        manifest = self.manifests.get(artefact)
        if manifest is None:
            return {artefact: "", f"{artefact}{SUFFIX}": ""}
        files = {file.path: file.sha256 for file in manifest.all_files}
        return files | {f"{name}{SUFFIX}": manifest.seal for name in files}

    def _move_forward(self, name: str, content: str, earliest: int) -> int:
        """Give a file its own time or ``earliest``, whichever is later, or the next second that no other content had.

        Returns:
            Its time as an output.
        """
        path = self.root / name
        own = time_as_output(path)
        if path.is_symlink() and time_as_input(path) > self.now:
            replace_by_copy(path)  # the target is from the future, and may be shared
        earliest = max(earliest, self.ledger.earliest(name, content, self.now))
        wanted = max(min(own, self.now), earliest)
        got = self._set(path, own, wanted)
        while got < earliest or not self._claim(name, got, content):
            wanted = (max(wanted, got) // SECOND + 1) * SECOND
            got = self._set(path, got, wanted)
        return got

    def _move_back(self, name: str, content: str, latest: int) -> None:
        """Give a file its own time or ``latest``, whichever is earlier, or the last second that no other content had."""
        path = self.root / name
        own = time_as_output(path)
        wanted = min(own, latest)
        if wanted != own and path.lstat().st_nlink > 1:
            replace_by_copy(path)  # the other names of the file may belong to current artefacts
        got = self._set(path, own, wanted)
        while not self._claim(name, got, content):
            wanted = (min(wanted, got) // SECOND - 1) * SECOND
            got = self._set(path, got, wanted)

    def _set(self, path: Path, own: int, wanted: int) -> int:
        """Change the time of a file from ``own`` to ``wanted``, as soon as that has passed, and return what was stored.

        The file system may round the time down.
        """
        if wanted == own:
            return own
        while wanted > self.now:
            time.sleep((wanted - self.now) / SECOND)
            self.now = file_system_now(self.root / "results")
        self.moved_shared |= path.lstat().st_nlink > 1
        set_time(path, wanted)
        stored = time_as_output(path)
        if abs(stored - wanted) > _COARSEST:
            raise UserError(
                f"{path}: its file system ignores changes of modification times; move results/ to another one"
            )
        return stored

    def _claim(self, name: str, stored: int, content: str) -> bool:
        """Return whether no other content of a file is known to have had this time; true if the content is unknown."""
        return not content or self.ledger.claim(name, stored, content)


def _write_if_changed(path: Path, content: dict[str, Any]) -> str:
    """Write a key file unless it has this content already, and return a digest of the file."""
    try:
        is_current = read_json(path) == content
    except UserError:  # missing, or emptied by a power failure
        is_current = False
    if not is_current:
        write_json(path, content, synced=False)
    return sha256(path)
