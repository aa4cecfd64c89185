"""The nodes of the plan: one artefact each, with its key and the file that carries it to the job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from proponent.config.keys import content_key, plain
from proponent.config.source_digest import SourceTree
from proponent.errors import UserError


@dataclass(frozen=True)
class Node:
    """One artefact: where it lies, which step makes it from what, and its content key."""

    path: str
    step: str
    spec: dict[str, Any]
    inputs: tuple[str, ...]
    sources: dict[str, str]
    """Digests of the modules that decide its numbers."""
    files: dict[str, str]
    """Digests of files that are read beside its inputs."""
    versions: dict[str, str]
    input_keys: dict[str, str]
    key: str
    depth: int
    """1 + the largest depth among its inputs."""
    roots: tuple[str, ...] = ()
    """Modules whose closure gave ``sources``; the job digests them again before it starts."""

    def key_content(self) -> dict[str, Any]:
        """Return what the key file holds: all that a job needs to know."""
        return {
            "artefact": self.path,
            "step": self.step,
            "key": self.key,
            "spec": self.spec,
            "inputs": self.input_keys,
            "roots": list(self.roots),
            "sources": self.sources,
            "files": self.files,
            "versions": self.versions,
        }


def key_path(artefact: str) -> str:
    """Return where the key file of an artefact lies: ``results/S/scores/M…`` → ``results/S/keys/scores/M….json``."""
    parts = PurePosixPath(artefact).parts
    if len(parts) < 3 or parts[1] in ("figures", "summaries"):
        return str(PurePosixPath(parts[0], "keys", *parts[1:])) + ".json"
    return str(PurePosixPath(parts[0], parts[1], "keys", *parts[2:])) + ".json"


@dataclass
class Graph:
    """Nodes by path, in an order in which inputs come first."""

    root: Path
    tree: SourceTree
    nodes: dict[str, Node] = field(default_factory=dict)
    _digests: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict)

    def add(
        self,
        path: str,
        step: str,
        spec: Mapping[str, Any],
        inputs: Iterable[str] = (),
        modules: Iterable[str] = (),
        files: Mapping[str, str] | None = None,
    ) -> str:
        """Add a node and return its path.

        Args:
            path: of the artefact, relative to the checkout.
            step: module of :mod:`proponent.steps` that makes it, and subcommand; ``external`` for a rule of its own.
            spec: resolved slice of the configuration.
            inputs: paths of nodes added before.
            modules: importable modules, besides the step's, that decide its numbers.
            files: digests of files that are read beside the inputs, by path.

        Raises:
            UserError: an input is not a node.
        """
        upstream = list(inputs)
        for name in upstream:
            if name not in self.nodes:
                raise UserError(
                    f"{path}: its input {name} is made by no configured setting, design or method"
                )
        roots = tuple(dict.fromkeys([*([f"proponent.steps.{step}"] if step != "external" else []), *modules]))
        sources, versions = self._digest(roots)
        content = plain(dict(spec))
        read = dict(files or {})
        input_keys = {name: self.nodes[name].key for name in upstream}
        key = content_key(step, content, sources, read, versions, input_keys.values())
        depth = 1 + max((self.nodes[name].depth for name in upstream), default=0)
        self.nodes[path] = Node(
            path, step, content, tuple(upstream), sources, read, versions, input_keys, key, depth, roots
        )
        return path

    def _digest(self, roots: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
        if roots not in self._digests:
            self._digests[roots] = self.tree.digest(roots)
        return self._digests[roots]
