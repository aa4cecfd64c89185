"""A member of a finished run: features that the run stored serve new queries, and what is not stored is computed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from proponent.features.gradients.serialise import from_tensors
from proponent.features.storage_choice import StorageChoice
from proponent.rows import Rows, named_tensors
from proponent.seeds import derive_seed
from proponent.store.manifest import find_manifest, is_current
from proponent.store.tensors import open_tensors
from proponent.trained.feature_cache import COMPARED, agree
from proponent.trained.live_member import LiveMember


@dataclass(frozen=True)
class StoredFeatures:
    """Features of the members of one setting, as the step ``featurize`` wrote them.

    Attributes:
        root: checkout of the results.
        setting: name of the setting.
    """

    root: Path
    setting: str

    @cached_property
    def _files(self) -> dict[tuple[str, int], tuple[Path, dict[str, Any]]]:
        """File and description by kind and member; files that changed, or whose inputs did, are left out."""
        return {key: value for path in self._current() for key, value in _described(path)}

    def _current(self) -> Iterator[Path]:
        for path in sorted((self.root / f"results/{self.setting}/features").glob("*.safetensors")):
            manifest = find_manifest(path)
            artefact = path.relative_to(self.root).as_posix()
            if manifest is not None and is_current(self.root, artefact, manifest.key):
                yield path

    def description(self, kind: str, member: int) -> dict[str, Any] | None:
        """Return how features were chosen; None where there are none.

        Args:
            kind: ``gradients``, ``outputs`` or ``representations``.
            member: index of the member.
        """
        found = self._files.get((kind, member))
        return None if found is None else found[1]

    def read(
        self, kind: str, member: int, index: int, x: Rows, parameters: Sequence[str]
    ) -> dict[str, Any] | None:
        """Return the features of the training examples by name, as maps of the file; None where there are none.

        Args:
            kind: kind of the features.
            member: index of the member.
            index: index of the checkpoint.
            x: (n_train, ...) inputs.
            parameters: names of the parameters in the order of the model; files have them in alphabetical order.
        """
        if (kind, member) not in self._files:
            return None
        path, described = self._files[kind, member]
        device = next(iter(named_tensors(x).values())).device
        prefix = f"member-{member:03d}/{index}."
        with open_tensors(path) as (get, names, _):
            own = {
                name.removeprefix(prefix): get(name)
                for name in names
                if name.startswith(prefix) and not name.startswith(f"{prefix}query")
            }
        own = {name: value.to(device) for name, value in own.items()}
        if kind == "gradients":
            layout = _in_order(described["layout"], parameters)
            block = from_tensors(layout, lambda name: own[f"train.{name}"], x)
            return {"gradients": block} | {name: own[name] for name in ("loss_weight", "loss_curvature")}
        if kind == "outputs":
            return {"outputs": own["train"], "loss_weight": own["loss_weight"]}
        if described["input"] is not None:
            return {"representations": named_tensors(x)[described["input"]].flatten(1)}
        return {"representations": own["train"]}


def _in_order(layout: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the layout of a block with its parameters in the order of ``names``; a projection keeps its only entry."""
    own = layout["parameters"]
    ordered = {name: own[name] for name in names if name in own} or own
    found = {**layout, "parameters": ordered}
    if layout["kind"] == "dense" and "names" not in layout["last"]:
        found["last"] = _in_order(layout["last"], names)
    return found


def _described(path: Path) -> Iterator[tuple[tuple[str, int], tuple[Path, dict[str, Any]]]]:
    """Yield kind and number of each member in a file, with the file and the description of the features."""
    with open_tensors(path) as (_, _, metadata):
        members = json.loads(metadata.get("members", "{}"))
    for name, described in members.items():
        features = described["features"]
        yield (features["kind"], int(name.removeprefix("member-"))), (path, features)


class StoredMember(LiveMember):
    """A member whose features are on disk.

    Args:
        args: arguments of :class:`.LiveMember`.
        stored: features of the run.
        kwargs: keyword arguments of :class:`.LiveMember`.
    """

    def __init__(self, *args: Any, stored: StoredFeatures, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._files = stored
        self._seed = derive_seed(0, "projection", self.index)
        found = stored.description("gradients", self.index)
        if found is not None:
            names = [entry.name for entry in dataclasses.fields(StorageChoice)]
            self._form = StorageChoice(**{name: found[name] for name in names if name in found})

    def _stored(
        self,
        kind: str,
        index: int,
        features: Callable[[slice], dict[str, Any]],
        form: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return features of the training set: those of the run, unless they differ from the model's own, or new ones."""
        compute = super()._stored

        def make() -> dict[str, Any]:
            names = [name for name, _ in self.module.named_parameters()]
            found = self._files.read(kind, self.index, index, self.problem.x, names)
            if found is not None and agree(found, features(slice(0, COMPARED))):
                return found
            return compute(kind, index, features, form)

        kept: dict[str, Any] = self._keep((kind, index), make)
        return kept
