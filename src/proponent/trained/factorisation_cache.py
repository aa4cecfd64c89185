"""Factorisations of a training set on disk, next to its features: what a method keeps from call to call."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from proponent.config.digests.keys import digest
from proponent.errors import UserError
from proponent.features.gradients.block import Block
from proponent.rows import Rows, named_tensors
from proponent.store.manifest import is_current
from proponent.store.tensors import open_tensors
from proponent.trained.feature_cache import COMPARED, FeatureCache, close, first_rows
from proponent.trained.packed_values import NotPackable, pack, unpack

_FIRST = "first rows"


@dataclass(frozen=True)
class FactorisationCache:
    """Factorisations of one method with its hyper-parameters.

    They are found by keys. The features that a factorisation was computed from are not, so their first rows are stored
    with it: where the present ones differ, it is not used.

    Attributes:
        features: folder, and what all models share.
        method: name and hyper-parameters of the method, and everything else that its values depend on.
        x: (n_train, ...) training inputs.
    """

    features: FeatureCache
    method: Mapping[str, Any]
    x: Rows
    _on_disk: set[str] = field(default_factory=set)

    def find(self, place: Any, model: str, owner: Tensor | Block, key: Hashable) -> Any:
        """Return the value of a method for features of the training set; None where there is none, or only a stale one.

        Args:
            place: kind of the features and index of their checkpoint.
            model: digest of the parameters and buffers of the model.
            owner: features of the training examples that the value was computed from.
            key: everything else that the value depends on.
        """
        name, content, _ = self._file(place, model, key)
        if not is_current(self.features.folder, name, content):
            return None
        device = next(iter(named_tensors(self.x).values())).device
        try:
            with open_tensors(self.features.folder / name) as (get, names, metadata):
                tensors = {entry: get(entry).to(device) for entry in names}
                structure = json.loads(metadata["structure"])
            if not close(tensors[_FIRST], first_rows(owner)):
                return None
            found = unpack(structure, tensors.__getitem__, self.x)
        except (UserError, KeyError, ValueError, RuntimeError, AttributeError, ImportError):
            return None
        self._on_disk.add(content)
        return found

    def keep(self, place: Any, model: str, owner: Tensor | Block, key: Hashable, value: Any) -> None:
        """Write a value, unless it is on disk already or holds other things than data; arguments as in :meth:`find`.

        Raises:
            UserError: the folder cannot be written.
        """
        name, content, spec = self._file(place, model, key)
        if content in self._on_disk:
            return
        self._on_disk.add(content)
        try:
            tensors, structure = pack(value, len(self.x))
        except NotPackable:
            return
        metadata = {"structure": json.dumps(structure)}
        self.features.write(
            name, content, spec, {**tensors, _FIRST: first_rows(owner).clone()}, metadata, 0.0
        )

    def _file(self, place: Any, model: str, key: Hashable) -> tuple[str, str, dict[str, Any]]:
        """Return the name of a file, the digest of its content, and everything that this depends on."""
        spec = {
            **self.features.problem,
            "kind": "factorisation",
            "method": dict(self.method),
            "features": [repr(place), COMPARED],
            "model": model,
            "key": repr(key),
        }
        content = digest(spec)
        return f"factorisation-{content[:20]}.safetensors", content, spec
