"""The graph of artefacts: one node per artefact, with its content key and the key file that tells a job what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from proponent.config.digests.file_digest import MEMORY, FileDigests
from proponent.config.digests.keys import content_key, plain
from proponent.config.digests.source_digest import SourceTree
from proponent.config.digests.source_memory import MEMORY as SOURCE_MEMORY
from proponent.config.specifications.method_specs import AdoptSpec
from proponent.config.specifications.step_inputs import paths_of
from proponent.config.specifications.step_spec import StepSpec
from proponent.errors import UserError
from proponent.store.files import write_json
from proponent.store.manifest import SUFFIX


@dataclass(frozen=True)
class Node:
    """One artefact: its path, the step that makes it from which inputs, and its content key."""

    path: str
    spec: StepSpec
    named_inputs: Any
    """The inputs dataclass of the specification's step (:mod:`proponent.config.specifications.step_inputs`)."""
    sources: dict[str, str]
    """Digests, by module, of the definitions that decide its numbers."""
    files: dict[str, str]
    """Digests of files that are read in addition to its inputs."""
    versions: dict[str, str]
    """Versions of the third-party distributions that its modules import."""
    input_keys: dict[str, str]
    """Content key per input path."""
    upstream: tuple[str, ...]
    """Inputs of its rule: those artefacts, and the manifests of adopted ones, which a rule of their own makes."""
    key: str
    depth: int
    """1 + the largest depth among its inputs."""
    after: tuple[str, ...] = ()
    """Artefacts that its rule waits for although it is not made from them: they are not part of its key."""
    roots: tuple[str, ...] = ()
    """Definitions whose closure gave ``sources``; the job digests it again before it starts."""

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.spec.step

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths of the artefacts that it is made from."""
        return tuple(self.input_keys)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The specification as JSON, as the manifest records it."""
        content: dict[str, Any] = plain(self.spec)
        return content

    def key_content(self) -> dict[str, Any]:
        """Return the content of the key file: all that a job needs to know."""
        return {
            "artefact": self.path,
            "step": self.step,
            "key": self.key,
            "spec": self.content,
            "inputs": plain(self.named_inputs),
            "input_keys": self.input_keys,
            "upstream": list(self.upstream),
            "roots": list(self.roots),
            "sources": self.sources,
            "files": self.files,
            "versions": self.versions,
        }


@dataclass
class Graph:
    """Nodes by path, in an order in which inputs come first."""

    root: Path
    tree: SourceTree
    nodes: dict[str, Node] = field(default_factory=dict)
    files: FileDigests = field(init=False)
    _digests: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = FileDigests.read(self.root)

    def digests_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return the digest of each file or folder that a factory or a command reads."""
        return {file: self.files.of(self.root / file) for file in files}

    def remember_digests(self) -> None:
        """Keep digests of source, large files and folders, so that jobs and later runs need not compute them again."""
        if self.files.remembered:
            write_json(self.root / MEMORY, self.files.remembered)
        source = self.tree.memory.unsaved() if self.tree.memory else None
        if source is not None:
            with contextlib.suppress(UserError):  # without the file, the next start computes them again
                write_json(self.root / SOURCE_MEMORY, source)

    def add(
        self,
        path: str,
        spec: StepSpec,
        inputs: Any,
        code: Iterable[str] = (),
        files: Mapping[str, str] | None = None,
        after: tuple[str, ...] = (),
    ) -> str:
        """Add a node and return its path.

        Args:
            path: path of the artefact, relative to the checkout.
            spec: specification of the step that makes it.
            inputs: instance of the specification's ``inputs_type``, with paths of nodes added before.
            code: definitions (``module:name``), in addition to the step's, that decide its numbers.
            files: digests of files that are read in addition to the inputs, by path.
            after: paths of artefacts that its rule waits for although it is not made from them.

        Raises:
            UserError: an input is not a node.
        """
        upstream = paths_of(inputs)
        for name in upstream:
            if name not in self.nodes:
                raise UserError(f"{path}: no configured setting, design or method makes its input {name}")
        roots = tuple(dict.fromkeys([f"proponent.steps.{spec.step}:run", *code]))
        sources, versions = self._digest(roots)
        read = dict(files or {})
        input_keys = {name: self.nodes[name].key for name in upstream}
        key = content_key(spec.step, plain(spec), sources, read, versions, input_keys.values())
        depth = 1 + max((self.nodes[name].depth for name in upstream), default=0)
        records = [f"{name}{SUFFIX}" for name in upstream if isinstance(self.nodes[name].spec, AdoptSpec)]
        self.nodes[path] = Node(
            path,
            spec,
            inputs,
            sources,
            read,
            versions,
            input_keys,
            tuple(sorted([*upstream, *records])),
            key,
            depth,
            after,
            roots,
        )
        return path

    def _digest(self, roots: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
        if roots not in self._digests:
            self._digests[roots] = self.tree.digest(roots)
        return self._digests[roots]
