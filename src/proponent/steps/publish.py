"""``proponent publish``: MLflow runs from metrics files and their manifests."""

from __future__ import annotations

import datetime
import functools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proponent.config.specifications.step_specs import AttributeSpec, DataSpec, MethodSpec
from proponent.errors import UserError
from proponent.publish.tracking import Record, exclusive, publish
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.store.files import read_json
from proponent.store.manifest import Manifest, check_bytes, read_manifest


def tracking_uri(root: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or the URI of ``mlflow.db`` in the checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def run(root: Path, paths: Sequence[str], complete: bool) -> Counter[str]:
    """Publish metrics files as MLflow runs.

    Args:
        root: root of the checkout.
        paths: paths ``results/S/metrics/M.json``, relative to the root.
        complete: whether these are all configured results; if so, other runs are deleted.

    Returns:
        Number of runs that were written, kept, …; see :func:`proponent.publish.tracking.publish`.

    Raises:
        UserError: a file differs from its manifest, or MLflow cannot be reached.
    """
    checked = functools.cache(functools.partial(check_bytes, root))
    with exclusive(root / "results/.publishing"):
        records = [_record(root, path, checked) for path in paths]
        return publish(records, tracking_uri(root), complete)


def _record(root: Path, path: str, checked: Callable[[str], Manifest]) -> Record:
    if not re.fullmatch(r"results/[^/]+/metrics/[^/]+\.json", path) or not (root / path).is_file():
        raise UserError(f"{path}: not a metrics file; name one like results/SETTING/metrics/METHOD.json")
    metrics = checked(path)
    document = read_json(root / path)
    setting, method = document["setting"], document["method"]
    scores = checked(f"results/{setting}/scores/{method}.safetensors")
    data = checked(f"results/{setting}/data/train.safetensors")
    ended = datetime.datetime.fromisoformat(scores.created_at).timestamp()
    return Record(
        setting=setting,
        method=method,
        key=metrics.key,
        params=params_of(scores),
        metrics=_values(document),
        tags=_tags(scores, metrics),
        data_digest=data.sha256,
        data_source=json.dumps(
            {"uri": data.artefact, "factory": recorded_spec(data, DataSpec).dataset.factory}
        ),
        configuration={"data": data.spec, "scores": scores.spec, "metrics": metrics.spec},
        begun=round(1000 * (ended - scores.seconds)),
        ended=round(1000 * ended),
        figures=_figures(root, setting, checked),
    )


def params_of(scores: Manifest) -> dict[str, str]:
    """Return the hyper-parameters with which the scores were computed; tuned ones have their chosen values."""
    spec = recorded_spec(scores, MethodSpec)
    ensemble: dict[str, Any] = {"family": spec.family, "members": spec.members}
    if isinstance(spec, AttributeSpec):
        ensemble["combine"] = spec.combine.value
        if spec.checkpoints:
            ensemble["checkpoints"] = list(spec.checkpoints)
    params = ensemble | scores.details.get("hyper_parameters", spec.params)
    return {name: str(value) for name, value in params.items()}


def _values(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that MLflow compares: ``lds``, ``lds_ci_low``, ``lds_ceiling``, … and the cost."""
    values = {
        metric if part == "value" else f"{metric}_{part}": entry.get(part)
        for metric, entry in document["metrics"].items()
        for part in ("value", "ci_low", "ci_high", "ceiling", "ceiling_low", "ceiling_high")
    }
    values["lds_over_ceiling"] = document["metrics"].get("lds", {}).get("lds_over_ceiling")
    values |= {name: value for name, value in document["cost"].items() if name != "ledger"}
    return {
        name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)
    }


def _tags(scores: Manifest, metrics: Manifest) -> dict[str, str]:
    commit = {"commit": metrics.commit, "mlflow.source.git.commit": metrics.commit} if metrics.commit else {}
    return commit | {
        "scores": scores.sha256,
        "device": scores.device or "unknown",
        "versions": json.dumps(scores.versions | metrics.versions, sort_keys=True),
        "mlflow.source.name": "proponent publish",
    }


def _figures(root: Path, setting: str, checked: Callable[[str], Manifest]) -> tuple[Path, ...]:
    """Return the figures of a setting; none before its first complete run."""
    first = f"results/figures/lds-{setting}.svg"
    if read_manifest(root / first) is None:
        return ()
    manifest = checked(first)
    return tuple(
        root / path
        for path in sorted([first, *(part.path for part in manifest.parts)])
        if path.endswith(".svg")
    )
