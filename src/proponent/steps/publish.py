"""``proponent publish``: metrics files, with what their manifests say, become runs in MLflow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from proponent.publish.tracking import Record, publish
from proponent.store.files import read_json
from proponent.store.manifest import check_bytes


def run(root: Path, paths: Sequence[str]) -> dict[str, int]:
    """Publish the metrics files at ``paths`` to ``MLFLOW_TRACKING_URI``, ``mlflow.db`` in the checkout by default."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
    return publish([_record(root, path) for path in paths], uri)


def _record(root: Path, path: str) -> Record:
    manifest = check_bytes(root, path)
    document = read_json(root / path)
    setting, method = document["setting"], document["method"]
    scores = check_bytes(root, f"results/{setting}/scores/{method}.safetensors")
    data = check_bytes(root, f"results/{setting}/data/train.safetensors")
    figures: dict[str, float] = {}
    for name, entry in document["metrics"].items():
        figures[name] = entry["value"]
        for part in ("ci_low", "ci_high", "ceiling", "ceiling_additive"):
            if entry.get(part) is not None:
                figures[f"{name}_{part}"] = entry[part]
    figures |= {name: value for name, value in document["cost"].items() if isinstance(value, int | float)}
    params = scores.details.get("hyper_parameters", scores.spec.get("params", {}))
    tags = {
        "method": method,
        "setting": setting,
        "state": "current",
        "commit": manifest.commit or "unknown",
        "data": data.sha256,
        "versions": json.dumps(scores.versions | manifest.versions, sort_keys=True),
    }
    return Record(
        setting,
        method,
        manifest.key,
        {name: str(value) for name, value in params.items()},
        {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)},
        tags,
        data.sha256,
        json.dumps({"uri": f"results/{setting}/data/train.safetensors"}),
        {"scores": scores.spec, "metrics": manifest.spec, "data": data.spec},
        tuple(sorted((root / "results/figures").glob(f"*-{setting}.svg"))),
    )
