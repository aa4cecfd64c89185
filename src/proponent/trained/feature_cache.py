"""Features of training examples on disk, so that a later process finds them: with keys and manifests as in the DAG."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proponent import __version__
from proponent.config.digests.keys import digest
from proponent.errors import UserError
from proponent.features.gradients.block import Block
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.rows import Rows, named_tensors
from proponent.settings.tasks import Task
from proponent.store.files import sha256
from proponent.store.manifest import Manifest, is_current, write_manifest
from proponent.store.tensors import open_tensors, save_tensors
from proponent.trained.model_description import described_model, package_digest
from proponent.trained.task_description import described
from proponent.trained.tensors_digest import tensors_digest

COMPARED = 2
"""Number of training examples whose features are computed again and compared with those on disk."""
_TOLERANCE = 1e-4
"""Largest difference, in units of the largest value: batches of other sizes round differently."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class FeatureCache:
    """A folder with features of trained models on the examples of one training set.

    Attributes:
        folder: the folder, which is created when it is needed.
        problem: digests and names of what all models share.
    """

    folder: Path
    problem: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, module: nn.Module, task: Task, x: Rows, y: Tensor) -> FeatureCache:
        """Return the cache of a training set.

        Args:
            folder: the folder.
            module: a module of the architecture.
            task: task that gives loss and target.
            x: (n_train, ...) inputs.
            y: (n_train, ...) labels.
        """
        return cls(
            folder,
            {
                "data": tensors_digest({**named_tensors(x), "labels": y}),
                "architecture": repr(module),
                "code": digest(described_model(module)),
                "dtype": str(next(module.parameters()).dtype),
                "task": described(task),
                "versions": {
                    "proponent": __version__,
                    "sources": package_digest(),
                    "torch": torch.__version__,
                },
            },
        )

    def keep(
        self,
        kind: str,
        state: Mapping[str, Tensor],
        form: Mapping[str, Any],
        x: Rows,
        make: Callable[[slice], Mapping[str, Tensor | Block]],
    ) -> dict[str, Any]:
        """Return features of all training examples: those on disk, or new ones, which are written.

        What a key cannot contain are functions that the methods of a model or of a task call. Therefore the first examples
        are computed again: features that differ from them are not used.

        Args:
            kind: kind of the features.
            state: parameters and buffers of the model.
            form: everything else that the features depend on.
            x: (n_train, ...) inputs.
            make: function from a range of examples to their features by name.

        Raises:
            UserError: the folder cannot be written.
        """
        spec = {**self.problem, "kind": kind, "form": dict(form), "model": tensors_digest(state)}
        key = digest(spec)
        name = f"{kind}-{key[:20]}.safetensors"
        found = self._read(name, x) if is_current(self.folder, name, key) else None
        if found is not None and agree(found, make(slice(0, COMPARED))):
            return found
        began = time.monotonic()
        made = dict(make(slice(None)))
        self._write(name, key, spec, made, time.monotonic() - began)
        return made

    def _read(self, name: str, x: Rows) -> dict[str, Any] | None:
        """Return features as maps of a file; None where the file cannot be read."""
        try:
            with open_tensors(self.folder / name) as (get, names, metadata):
                tensors, layouts = {entry: get(entry) for entry in names}, json.loads(metadata["layouts"])
            device = next(iter(named_tensors(x).values())).device
            found: dict[str, Any] = {
                entry: value.to(device) for entry, value in tensors.items() if "/" not in entry
            }
            for entry, layout in layouts.items():
                own = {part.removeprefix(f"{entry}/"): value.to(device) for part, value in tensors.items()}
                found[entry] = from_tensors(layout, own.__getitem__, x)
        except (UserError, KeyError, ValueError, RuntimeError):
            return None
        return found

    def _write(self, name: str, key: str, spec: dict[str, Any], made: dict[str, Any], seconds: float) -> None:
        tensors: Tensors = {}
        layouts: dict[str, Any] = {}
        for entry, value in made.items():
            if isinstance(value, Tensor):
                tensors[entry] = value
                continue
            parts, layouts[entry] = to_tensors(value)
            tensors |= {f"{entry}/{part}": tensor for part, tensor in parts.items()}
        # the order of parameters in a layout matters, and a manifest sorts its entries
        self.write(name, key, spec, tensors, {"layouts": json.dumps(layouts)}, seconds)

    def write(
        self,
        name: str,
        key: str,
        spec: dict[str, Any],
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        seconds: float,
    ) -> None:
        """Write a file with its manifest.

        Args:
            name: name of the file.
            key: digest of ``spec``.
            spec: everything that the content depends on.
            tensors: content.
            metadata: further content of the file, as texts.
            seconds: time that the content took.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.folder / name
        save_tensors(path, tensors, {"key": key, **metadata})
        manifest = Manifest(
            name, key, sha256(path), path.stat().st_size, step=f"{spec['kind']} of a trained model"
        )
        manifest.spec, manifest.versions, manifest.seconds = spec, spec["versions"], round(seconds, 3)
        manifest.created_at = datetime.now(UTC).isoformat(timespec="seconds")
        write_manifest(self.folder, manifest)


def agree(found: Mapping[str, Any], some: Mapping[str, Any]) -> bool:
    """Return whether features on disk are those of the first examples, computed again."""
    if set(found) != set(some):
        return False
    return all(close(first_rows(found[name]), first_rows(value)) for name, value in some.items())


def first_rows(value: Tensor | Block) -> Tensor:
    """Return the first rows of features, written out."""
    return value[:COMPARED] if isinstance(value, Tensor) else value.slice(slice(0, COMPARED)).dense()


def close(found: Tensor, expected: Tensor) -> bool:
    """Return whether two results of the same computation are equal up to rounding."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    difference = (found.double() - expected.double()).abs().max()
    return bool(difference <= _TOLERANCE * expected.double().abs().max())
