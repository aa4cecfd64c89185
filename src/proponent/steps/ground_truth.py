"""``proponent ground-truth``: merge the shards of a design into one file of masks and targets."""

from __future__ import annotations

import torch

from proponent.steps.io.job import Job
from proponent.store.manifest import read_manifest
from proponent.store.tensors import load_tensors


def run(job: Job) -> None:
    """Write ``masks`` (n_subsets, n_train) bool and ``targets`` (n_subsets, n_seeds, n_query) float32.

    Row 0 of the ``loo`` design keeps everything. A retraining that diverged has NaN targets and is named in the manifest.
    """
    seeds = job.spec["design"]["seeds"]
    paths = job.inputs_under("ground_truth/shards/")
    shards = [load_tensors(job.read(path)) for path in paths]
    masks = torch.cat([shard["masks"] for shard in shards])
    targets = torch.cat([shard["targets"] for shard in shards])
    rows = len(targets) // seeds
    merged = {
        "masks": masks.unflatten(0, (rows, seeds))[:, 0],
        "targets": targets.unflatten(0, (rows, seeds)),
    }
    job.write_tensors(
        job.artefact, merged, {"setting": job.spec["setting"], "design": job.spec["design"]["name"]}
    )
    manifests = [read_manifest(job.root / path) for path in paths]
    diverged = [run for manifest in manifests if manifest for run in manifest.details["diverged"]]
    job.details = {
        "diverged": diverged,
        "retraining_seconds": sum(manifest.seconds for manifest in manifests if manifest),
    }
