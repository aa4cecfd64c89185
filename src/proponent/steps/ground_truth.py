"""``proponent ground-truth``: merge the shards of a design into one file of masks and targets."""

from __future__ import annotations

import numpy as np

from proponent.config.specifications.step_inputs import GroundTruthInputs
from proponent.config.specifications.training_specs import GroundTruthSpec
from proponent.steps.io.job import Job
from proponent.store.arrays import load_arrays
from proponent.store.manifest import read_manifest


def run(job: Job[GroundTruthSpec, GroundTruthInputs]) -> None:
    """Write ``masks`` (n_subsets, n_train) bool and ``targets`` (n_subsets, n_seeds, n_query) float32.

    Row 0 of the ``loo`` design keeps everything. A retraining that diverged has NaN targets and is named in the manifest.
    """
    design, paths = job.spec.design, job.inputs.shards
    shards = [load_arrays(job.read(path)) for path in paths]
    masks = np.concatenate([shard["masks"] for shard in shards])
    targets = np.concatenate([shard["targets"] for shard in shards])
    # Retrainings of one subset with different seeds are consecutive.
    merged = {
        "masks": masks[:: design.seeds],
        "targets": targets.reshape(-1, design.seeds, targets.shape[1]),
    }
    job.write_arrays(job.artefact, merged, {"setting": job.spec.setting, "design": design.name})
    manifests = [read_manifest(job.root / path) for path in paths]
    diverged = [run for manifest in manifests if manifest for run in manifest.details["diverged"]]
    job.details = {
        "diverged": diverged,
        "retraining_seconds": sum(manifest.seconds for manifest in manifests if manifest),
    }
