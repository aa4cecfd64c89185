"""``proponent evaluate``: one method's scores on one setting against the ground truth, and what they cost."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.errors import UserError
from proponent.metrics.estimate import Array
from proponent.metrics.metric_inputs import MetricInputs, Retrainings, check_scores
from proponent.steps.io.job import Job, adopt
from proponent.store.manifest import Manifest, read_manifest
from proponent.store.tensors import load_tensors, open_tensors


def run(job: Job) -> None:
    """Write ``metrics/M.json``: every metric that the setting allows, on the test queries, and the cost ledger."""
    spec = job.spec
    train = job.input("/data/train.safetensors")
    scores_path = job.input(f"/scores/{spec['method']}.safetensors")
    tune, test = spec["queries"]["tune"], spec["queries"]["test"]
    with open_tensors(job.read(train)) as (get, _, _):
        n_train = len(get("y"))
    scores, tensors = _read_scores(job, scores_path, tune + test, n_train)
    self_influence = tensors.get("self_influence")
    needs = {need for metric in spec["metrics"].values() for need in metric["needs"]}
    inputs = MetricInputs(
        scores=scores[tune : tune + test],
        self_influence=None if self_influence is None else self_influence.double().numpy(),
        groups=_groups(spec["groups"], tensors, slice(tune, tune + test)) if spec["groups"] else None,
        ground_truth={
            need.removeprefix("ground_truth/"): _read_retrainings(job, f"/{need}.safetensors", tune, test)
            for need in sorted(needs)
            if need.startswith("ground_truth/")
        },
        noisy_labels=_read_noise(job, train) if "noisy_labels" in needs else None,
    )
    metrics: dict[str, Any] = {}
    for metric in spec["metrics"].values():
        evaluate = importlib.import_module(f"proponent.metrics.{metric['metric']}").evaluate
        try:
            estimates = evaluate(inputs, **metric["params"])
        except UserError as error:
            raise UserError(f"results/{spec['setting']}: {error}") from error
        metrics |= {name: estimate.as_dict() for name, estimate in estimates.items()}
    content = {
        "setting": spec["setting"],
        "method": spec["method"],
        "key": job.key,
        "metrics": metrics,
        "cost": cost(job.root, scores_path, spec["shares"], spec["tuned_on"]),
    }
    job.write_json(job.artefact, content)


def _read_scores(
    job: Job, path: str, n_query: int, n_train: int
) -> tuple[NDArray[np.float64], dict[str, Tensor]]:
    external = job.spec["external_key_file"]
    location = job.root / path if external else job.read(path)
    tensors = load_tensors(location)
    if "scores" not in tensors:
        raise UserError(f"{path}: holds no tensor 'scores', only {', '.join(sorted(tensors)) or 'nothing'}")
    if not tensors["scores"].is_floating_point():
        raise UserError(
            f"{path}: 'scores' must be float32, not {str(tensors['scores'].dtype).removeprefix('torch.')}"
        )
    scores = tensors["scores"].double().numpy()
    check_scores(scores, n_query, n_train, path)
    if external:
        adopt(job.root, path, job.root / external)
    return scores, tensors


def _groups(module: str, tensors: dict[str, Tensor], rows: slice) -> Callable[[NDArray[np.bool_]], Array]:
    group_scores = importlib.import_module(module).group_scores

    def predicted(masks: NDArray[np.bool_]) -> Array:
        found: Array = group_scores(tensors, torch.from_numpy(masks))[:, rows].double().numpy()
        return found

    return predicted


def _read_retrainings(job: Job, ending: str, tune: int, test: int) -> Retrainings:
    tensors = load_tensors(job.read(job.input(ending)))
    return Retrainings(
        tensors["masks"].numpy(), tensors["targets"][:, :, tune : tune + test].double().numpy()
    )


def _read_noise(job: Job, train: str) -> NDArray[np.bool_]:
    path = job.read(train).with_name("noisy_labels.safetensors")
    mask: NDArray[np.bool_] = load_tensors(path)["noisy_labels"].numpy()
    return mask


def cost(root: Path, scores: str, shares: dict[str, float], tuned_on: list[str]) -> dict[str, Any]:
    """Return what a method's scores cost: its own step, and its share of everything that it was made from.

    ``attribution_seconds`` is the final run of the method alone; ``tuning_seconds`` the choice of its hyper-parameters;
    ``total_seconds`` adds the shares of data, ensemble and features. ``peak_memory_mib`` is the largest resident set among
    all of them, ``bytes`` what they left on disk. The retrainings on which candidates were compared (``tuned_on``) are the
    same for all methods, and stand apart: ``tuning_retraining_seconds``.
    """
    ledger: dict[str, dict[str, float]] = {}
    tuning = attribution = peak = 0.0
    for path, share in sorted(shares.items()):
        manifest = _manifest(root, path)
        ledger[path] = {
            "share": round(share, 4),
            "seconds": manifest.seconds,
            "bytes": manifest.bytes,
            "peak_memory_mib": manifest.peak_memory_mib,
        }
        peak = max(peak, manifest.peak_memory_mib)
        if path == scores:
            tuning = float(manifest.details.get("tuning_seconds", 0.0))
            attribution = float(manifest.details.get("attribution_seconds", manifest.seconds))
    return {
        "attribution_seconds": round(attribution, 3),
        "tuning_seconds": round(tuning, 3),
        "tuning_retraining_seconds": round(sum(_manifest(root, path).seconds for path in tuned_on), 3),
        "total_seconds": round(sum(entry["share"] * entry["seconds"] for entry in ledger.values()), 3),
        "peak_memory_mib": round(peak, 1),
        "bytes": int(sum(entry["share"] * entry["bytes"] for entry in ledger.values())),
        "ledger": ledger,
    }


def _manifest(root: Path, path: str) -> Manifest:
    manifest = read_manifest(root / path)
    if manifest is None:
        raise UserError(f"{path}: has no manifest, so its cost is unknown; delete it and run snakemake again")
    return manifest
