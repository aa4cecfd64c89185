"""One job: what a key file asks for, checked before the work starts, and recorded when it is done."""

from __future__ import annotations

import datetime
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proponent.config.source_digest import SourceTree, file_digest
from proponent.errors import UserError
from proponent.slurm import own_job
from proponent.store.files import read_json, replacing, sha256, write_json
from proponent.store.lease import Lease
from proponent.store.manifest import Manifest, Part, check_bytes, is_whole, write_manifest

if TYPE_CHECKING:
    from torch import Tensor

SEEN_AFTER = 60.0
"""Seconds until what a node wrote is seen on all others; as long as NFS keeps attributes by default (acdirmax)."""
LOOKED_EVERY = 2.0


@dataclass
class Job:
    """A step's view of the world: its spec, its inputs (verified when asked for) and where its outputs go."""

    root: Path
    artefact: str
    step: str
    key: str
    spec: dict[str, Any]
    inputs: dict[str, str]
    roots: list[str]
    sources: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)
    """What the step wants to be remembered; goes into the manifest."""
    asked_device: str = ""
    """What the configuration asks for; since :func:`proponent.steps.io.device.settle_device`, ``spec`` says what it came to."""
    _written: list[str] = field(default_factory=list)
    _checked: set[str] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)

    @classmethod
    def load(cls, key_file: Path, step: str) -> Job:
        """Read a key file.

        Raises:
            UserError: it is missing, or belongs to another step.
        """
        content = read_json(key_file)
        content.pop("asked", None)
        try:
            job = cls(root=Path.cwd(), **content)
        except TypeError as error:
            raise UserError(
                f"{key_file}: not a key file ({error}); run snakemake, which writes it anew"
            ) from error
        if job.step != step:
            raise UserError(f"{key_file}: is for 'proponent {job.step}', not 'proponent {step}'")
        return job

    @property
    def threads(self) -> int:
        """Threads of torch and BLAS: configuration, never the number of cores that happens to be free."""
        return int(self.spec.get("threads", 1))

    def seconds(self) -> float:
        """Return the time since the job began."""
        return time.monotonic() - self._started

    def is_done(self) -> bool:
        """Return whether the artefact is there already, with this very key."""
        return is_whole(self.root, self.artefact, self.key)

    def check(self) -> None:
        """Refuse to start where the result would not be what the key says.

        Raises:
            UserError: the source or a file changed since the plan was made, or an input was made under another key.
        """
        if self.roots:
            sources, _ = SourceTree((self.root / "src", self.root)).digest(self.roots)
            changed = sorted(
                name for name in {*sources, *self.sources} if sources.get(name) != self.sources.get(name)
            )
            if changed:
                raise UserError(
                    f"{self.artefact}: {changed[0]} changed since this run was planned; run snakemake again"
                )
        for name, expected in self.files.items():
            if file_digest(self.root / name) != expected:
                raise UserError(
                    f"{self.artefact}: {name} changed since this run was planned; run snakemake again"
                )

    def read(self, path: str) -> Path:
        """Return the location of an input after comparing its bytes with its manifest, once.

        What another node wrote may be seen late, or for a while as it was before: a job on a cluster looks again for
        a minute. Snakemake waits for artefacts, but knows nothing of manifests and parts.

        Raises:
            UserError: it is missing, truncated or corrupt, or was made under another key than planned.
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
        if path in self.inputs and manifest.key != self.inputs[path]:
            raise UserError(f"{path}: was made from something else than planned; run snakemake again")
        return {path, *(part.path for part in manifest.parts)}

    def input(self, ending: str) -> str:
        """Return the one input whose path ends with ``ending``."""
        (found,) = [path for path in self.inputs if path.endswith(ending)]
        return found

    def inputs_under(self, folder: str) -> list[str]:
        """Return the inputs whose path holds ``/folder``, in order."""
        return sorted(path for path in self.inputs if f"/{folder}" in path)

    def write_tensors(
        self, path: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write one file of the artefact as safetensors, atomically."""
        from proponent.store.tensors import save_tensors

        save_tensors(self.root / path, tensors, metadata)
        self._written.append(path)

    def write_json(self, path: str, content: Any) -> None:
        """Write one file of the artefact as JSON, atomically."""
        write_json(self.root / path, content)
        self._written.append(path)

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write one file of the artefact, atomically."""
        with replacing(self.root / path) as temporary:
            temporary.write_bytes(content)
        self._written.append(path)

    def read_partial(self) -> dict[str, Tensor] | None:
        """Return what :meth:`write_partial` kept of an earlier attempt at this very key; None where there is nothing."""
        from proponent.store.tensors import open_tensors

        if not self._partial.exists():
            return None
        try:
            with open_tensors(self._partial) as (get, names, metadata):
                if metadata.get("key") != self.key:
                    return None
                self._started -= float(metadata["seconds"])  # the cost is that of all attempts
                return {name: get(name) for name in names}
        except UserError:
            return None

    def write_partial(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what is done so far beside the artefact, in a file that is no output and goes when the artefact is whole."""
        from proponent.store.tensors import save_tensors

        save_tensors(self._partial, tensors, {"key": self.key, "seconds": f"{self.seconds():.3f}"})

    @property
    def _partial(self) -> Path:
        path = self.root / self.artefact
        return path.with_name(f".{path.name}.partial")

    def finish(self, lease: Lease) -> Manifest:
        """Write the manifest: from here on the artefact counts as made.

        Raises:
            UserError: another job took the artefact over, believing this one to be gone.
        """
        lease.check()
        parts = [
            Part(path, sha256(self.root / path), (self.root / path).stat().st_size) for path in self._written
        ]
        (first,) = [part for part in parts if part.path == self.artefact]
        manifest = Manifest(
            artefact=self.artefact,
            key=self.key,
            sha256=first.sha256,
            size=first.size,
            inputs=self.inputs,
            step=self.step,
            spec={**self.spec, "device": self.asked_device} if self.asked_device else self.spec,
            sources=self.sources,
            files=self.files,
            versions=self.versions,
            parts=[part for part in parts if part is not first],
            commit=_commit(self.root),
            device=str(self.spec.get("device", "cpu")),
            threads=self.threads,
            seconds=round(self.seconds(), 3),
            peak_memory_mib=round(peak_memory_mib(), 1),
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            details=self.details,
        )
        write_manifest(self.root, manifest)
        self._partial.unlink(missing_ok=True)
        return manifest


def peak_memory_mib() -> float:
    """Return the largest resident set of this process so far, in MiB.

    Linux's own record is asked where there is one: what ``getrusage`` says begins with that of the process that started
    this one, be it a large controller.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare_libraries(threads: int) -> None:
    """Fix how every numerical library uses threads and memory; must come before any of them is imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["MKL_DYNAMIC"] = "FALSE"
    os.environ["OMP_DYNAMIC"] = "FALSE"
    # Huge pages for large tensors, if the kernel has them: on a virtual machine new memory came four times as fast.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def announce(step: str, key_file: Path) -> None:
    """Print the command that this job is, the first line of its log: it can be run by hand."""
    print(f"proponent {step} {key_file}", file=sys.stderr, flush=True)


def _commit(root: Path) -> str | None:
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except OSError:
        return None
    return done.stdout.strip() or None


def adopt(root: Path, artefact: str, key_file: Path) -> None:
    """Write the manifest of an artefact that somebody's own rule made, unless it has a fitting one.

    Its cost is what the rule's ``benchmark: "results/{setting}/benchmarks/attribute-<name>.tsv"`` measured.
    """
    content = read_json(key_file)
    if is_whole(root, artefact, content["key"]):
        return
    path = root / artefact
    manifest = Manifest(
        artefact=artefact,
        key=content["key"],
        sha256=sha256(path),
        size=path.stat().st_size,
        inputs=content["inputs"],
        step=content["step"],
        spec=content["spec"],
        sources=content["sources"],
        files=content["files"],
        versions=content["versions"],
        commit=_commit(root),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    benchmark = path.parents[1] / "benchmarks" / f"attribute-{path.stem}.tsv"
    if benchmark.exists():
        names, values = (line.split("\t") for line in benchmark.read_text(encoding="utf-8").splitlines()[:2])
        measured = dict(zip(names, values, strict=True))
        manifest.seconds = float(measured["s"])
        manifest.peak_memory_mib = (
            float(measured["max_rss"]) if measured["max_rss"] not in ("-", "NA") else 0.0
        )
    write_manifest(root, manifest)
