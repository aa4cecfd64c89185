"""A job: the specification and inputs in a key file, checked before the work starts, and the record of what was made."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from proponent.config.digests.file_digest import FileDigests
from proponent.config.digests.source_digest import SourceTree
from proponent.config.digests.source_memory import SourceMemory
from proponent.config.specifications.all_specs import SPECS
from proponent.config.specifications.restore import parse
from proponent.config.specifications.step_spec import StepSpec
from proponent.errors import UserError
from proponent.slurm import own_job
from proponent.steps.io.process import git_commit, peak_memory_mib
from proponent.store.file_times import move_to_new_second, time_as_output
from proponent.store.files import read_json, replacing, sha256, write_json
from proponent.store.lease import Lease
from proponent.store.manifest import (
    Manifest,
    Part,
    check_bytes,
    find_manifest,
    is_current,
    manifest_path,
    write_manifest,
)

if TYPE_CHECKING:
    from torch import Tensor

    from proponent.store.arrays import Array

SEEN_AFTER = 60.0
"""Seconds until all nodes see what one of them wrote; as long as NFS keeps attributes by default (acdirmax)."""
LOOKED_EVERY = 2.0

S = TypeVar("S", bound=StepSpec, covariant=True)
I = TypeVar("I", covariant=True)  # noqa: E741 - the type of a step's inputs


@dataclass
class Job(Generic[S, I]):
    """Everything that a step sees: its specification, its inputs (verified when they are read) and its outputs."""

    root: Path
    artefact: str
    key: str
    spec: S
    inputs: I
    """Paths of the inputs by name; :meth:`read` verifies one of them."""
    input_keys: dict[str, str]
    """Content key per input path, as planned."""
    roots: list[str]
    sources: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]
    device: str = "cpu"
    """Where the numbers are computed; see :func:`proponent.steps.io.device.settle_device`."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever the step records in the manifest in addition to the usual fields."""
    measured: tuple[float, float] | None = None
    """Seconds and peak memory in MiB of an artefact that another process made; None for what this job makes."""
    _written: list[str] = field(default_factory=list)
    _checked: set[str] = field(default_factory=set)
    _input_digests: dict[str, str] = field(default_factory=dict)
    """Content digest of each input that was read."""
    _replaced: dict[Path, int] = field(default_factory=dict)
    """Modification time of each file that this job replaces."""
    _started: float = field(default_factory=time.monotonic)

    @classmethod
    def load(cls, key_file: Path, step: str) -> Job[Any, Any]:
        """Read a key file.

        Raises:
            UserError: the file is missing, malformed, or belongs to another step.
        """
        content = read_json(key_file)
        try:
            made_by = content["step"]
            spec_type = SPECS[made_by]
            job = cls(
                root=Path.cwd(),
                artefact=content["artefact"],
                key=content["key"],
                spec=parse(spec_type, content["spec"]),  # type: ignore[arg-type]
                inputs=parse(spec_type.inputs_type, content["inputs"]),
                input_keys=content["input_keys"],
                roots=content["roots"],
                sources=content["sources"],
                files=content["files"],
                versions=content["versions"],
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise UserError(
                f"{key_file}: not a key file ({error}); run snakemake, which writes it anew"
            ) from error
        if made_by != step:
            raise UserError(f"{key_file}: is for 'proponent {made_by}', not 'proponent {step}'")
        return job

    @property
    def threads(self) -> int:
        """Threads of torch and BLAS: configuration, never the number of cores that happens to be free."""
        return self.spec.engine.threads

    def seconds(self) -> float:
        """Return the time since the job began."""
        return time.monotonic() - self._started

    def is_done(self) -> bool:
        """Return whether the artefact is there already, made with this very key from the bytes that its inputs have."""
        return is_current(self.root, self.artefact, self.key)

    def check(self) -> None:
        """Refuse to start if the result would not be what the key says.

        Raises:
            UserError: the source or a file changed since the plan was made, or an input was made under another key.
        """
        tree = SourceTree((self.root / "src", self.root), SourceMemory(self.root))
        self._refuse(tree.changes(self.roots, self.sources))
        self.check_files()

    def check_files(self) -> None:
        """Refuse to continue if a file that decides the result is not as planned.

        Raises:
            UserError: a file changed since the plan was made.
        """
        if self.files:
            digests = FileDigests.read(self.root)
            self._refuse(
                [name for name, known in self.files.items() if digests.of(self.root / name) != known]
            )

    def _refuse(self, changed: Sequence[str]) -> None:
        if changed:
            raise UserError(
                f"{self.artefact}: {changed[0]} changed since this run was planned; run snakemake again"
            )

    def read(self, path: str) -> Path:
        """Return the location of an input after comparing its bytes with its manifest, once.

        A node may see late what another node wrote, or for a while in its earlier state: a job on a cluster looks again for
        a minute. Snakemake waits for artefacts, but knows nothing of manifests and parts.

        Raises:
            UserError: the input is missing, truncated or corrupt, or was made under another key than planned.
        """
        deadline = time.monotonic() + (SEEN_AFTER if own_job() else 0)
        while path not in self._checked:
            try:
                self._checked.update(self._as_planned(path))
            except UserError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOOKED_EVERY)
        return self.root / path

    def _as_planned(self, path: str) -> set[str]:
        """Return the files of an input, all of which are as they were written, under the key that was planned."""
        manifest = check_bytes(self.root, path)
        if path in self.input_keys and manifest.key != self.input_keys[path]:
            raise UserError(f"{path}: was made from something else than planned; run snakemake again")
        self._input_digests[path] = manifest.content_digest
        return {path, *(part.path for part in manifest.parts)}

    def _digests_of_inputs(self) -> dict[str, str]:
        """Return the content digest of every input: the bytes that were read, or for one that was not, its bytes now."""
        manifests = {path: find_manifest(self.root / path) for path in self.input_keys}
        now = {path: manifest.content_digest for path, manifest in manifests.items() if manifest}
        return now | {
            path: self._input_digests[path] for path in self.input_keys if path in self._input_digests
        }

    @property
    def made_from(self) -> dict[str, str]:
        """The key and a digest of all inputs: what an attempt must share with a later one that continues it."""
        from proponent.config.digests.keys import digest

        return {"key": self.key, "inputs": digest(self._digests_of_inputs())}

    def write_tensors(
        self, path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write one file of the artefact as safetensors, atomically."""
        from proponent.store.tensors import save_tensors

        save_tensors(self._begin(path), tensors, metadata)

    def write_arrays(
        self, path: str, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write one file of the artefact as safetensors, atomically, without torch."""
        from proponent.store.arrays import save_arrays

        save_arrays(self._begin(path), arrays, metadata)

    def write_json(self, path: str, content: Any) -> None:
        """Write one file of the artefact as JSON, atomically."""
        write_json(self._begin(path), content)

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write one file of the artefact, atomically."""
        with replacing(self._begin(path)) as temporary:
            temporary.write_bytes(content)

    def adopt(self, path: str, seconds: float, peak_memory_mib: float) -> None:
        """Take a file that another process wrote, at this cost, as one of the artefact's files."""
        self.measured = (seconds, peak_memory_mib)
        self._written.append(path)

    def _begin(self, path: str) -> Path:
        """Return the location of a file of the artefact that is about to be written."""
        self._written.append(path)
        location = self.root / path
        for file in (location, manifest_path(location)):
            if file.exists():
                self._replaced[file] = time_as_output(file)
        return location

    def read_partial(self) -> dict[str, Tensor] | None:
        """Return what :meth:`write_partial` kept of an earlier attempt at this very key; None if it kept nothing."""
        from proponent.store.tensors import open_tensors

        if not self._partial.exists():
            return None
        try:
            with open_tensors(self._partial) as (get, names, metadata):
                if any(metadata.get(name) != value for name, value in self.made_from.items()):
                    return None
                self._started -= float(metadata["seconds"])  # the cost is that of all attempts
                return {name: get(name) for name in names}
        except UserError:
            return None

    def write_partial(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what is done so far next to the artefact, in a file that is removed when the artefact is whole."""
        from proponent.store.tensors import save_tensors

        save_tensors(self._partial, tensors, {**self.made_from, "seconds": f"{self.seconds():.3f}"})

    @property
    def work(self) -> Path:
        """Folder next to the artefact for what a later attempt can use; removed when the artefact is whole."""
        path = self.root / self.artefact
        return path.with_name(f".{path.name}.work")

    @property
    def _partial(self) -> Path:
        path = self.root / self.artefact
        return path.with_name(f".{path.name}.partial")

    def finish(self, lease: Lease) -> Manifest:
        """Write the manifest: from here on the artefact counts as made.

        Raises:
            UserError: another job took the artefact over, believing that this one had ended.
        """
        from proponent.config.digests.keys import plain

        lease.check()
        for path in self._written:
            move_to_new_second(self.root / path, self._replaced.get(self.root / path))
        parts = [
            Part(path, sha256(self.root / path), (self.root / path).stat().st_size) for path in self._written
        ]
        (first,) = [part for part in parts if part.path == self.artefact]
        seconds, peak = self.measured or (self.seconds(), peak_memory_mib())
        manifest = Manifest(
            artefact=self.artefact,
            key=self.key,
            sha256=first.sha256,
            size=first.size,
            inputs=self.input_keys,
            input_digests=self._digests_of_inputs(),
            step=self.spec.step,
            spec=plain(self.spec),
            sources=self.sources,
            files=self.files,
            versions=self.versions,
            parts=[part for part in parts if part is not first],
            commit=git_commit(self.root),
            device=self.device,
            threads=self.threads,
            seconds=round(seconds, 3),
            peak_memory_mib=round(peak, 1),
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            details=self.details,
        )
        write_manifest(self.root, manifest)
        for path in self._written:
            record = manifest_path(self.root / path)
            move_to_new_second(record, self._replaced.get(record))
        self._partial.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        return manifest
