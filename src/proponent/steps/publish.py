"""``proponent publish``: MLflow runs from metrics files and their manifests."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from proponent.config.specifications.method_specs import AttributeSpec, MethodSpec
from proponent.config.specifications.training_specs import DataSpec
from proponent.errors import UserError
from proponent.file_locks import exclusive
from proponent.publish.ranking import Document, note, reason
from proponent.publish.report.page import render_gallery
from proponent.publish.report.section import Section
from proponent.publish.run_artifacts import TABLE_COLUMNS, Artifacts
from proponent.publish.tracking import Record, publish
from proponent.steps.io.rankings import ranking_path, read_ranking
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.store.files import read_json
from proponent.store.manifest import Manifest, check_bytes, is_current, read_manifest

_METRICS = re.compile(r"results/(?P<setting>[^/]+)/metrics/(?P<method>[^/]+)\.json")
_STATUS: dict[str, Literal["FINISHED", "FAILED", "KILLED"]] = {"left out": "FINISHED", "killed": "KILLED"}
"""MLflow's status by outcome; FAILED for others."""
_OUTCOME = re.compile(r"\b(left out|refused|failed|killed): ")
"""How a method without scores ended, in its reason."""
_LONGEST_TAG = 5000
"""Characters of a tag that MLflow accepts."""


def tracking_uri(root: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or the URI of ``mlflow.db`` in the checkout.

    It is relative to the current directory, because a ``?`` in an absolute path would begin the URI's options.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.relpath(root / 'mlflow.db')}"


def run(root: Path, paths: Sequence[str], complete: bool) -> Counter[str]:
    """Publish metrics files as MLflow runs; a method without scores is a run with the reason and without metrics.

    Args:
        root: root of the checkout.
        paths: paths ``results/S/metrics/M.json``, relative to the root.
        complete: whether these are all configured results; if so, other runs are deleted.

    Returns:
        Number of runs that were written, kept, …; see :func:`proponent.publish.tracking.publish`.

    Raises:
        UserError: a file differs from its manifest or does not exist, although the leaderboard of its setting has no reason
            for it, or MLflow cannot be reached.
    """
    checked = functools.cache(functools.partial(check_bytes, root))
    with exclusive(root / "results/.publishing"):
        if complete:
            paths = [*paths, *_left_out(root, paths)]
        records = [_record(root, path, checked) for path in paths]
        return publish(records, tracking_uri(root), complete)


def _record(root: Path, path: str, checked: Callable[[str], Manifest]) -> Record:
    if named := _METRICS.fullmatch(path):
        absent = _without_scores(root, named["setting"], named["method"], checked)
        if absent is not None:
            return absent
    if not named or not (root / path).is_file():
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
        tags=_tags(scores, metrics) | _remarks(document),
        data_digest=data.sha256,
        data_source=json.dumps(
            {"uri": data.artefact, "factory": recorded_spec(data, DataSpec).dataset.factory}
        ),
        configuration={"data": data.spec, "scores": scores.spec, "metrics": metrics.spec},
        begun=round(1000 * (ended - scores.seconds)),
        ended=round(1000 * ended),
        artifacts=Artifacts(
            figures=_figures(root, setting, checked),
            gallery=_gallery(root, setting, method, checked),
            table=_table(document),
        ),
    )


def _without_scores(
    root: Path, setting: str, method: str, checked: Callable[[str], Manifest]
) -> Record | None:
    """Return the record of a method that has a reason instead of metrics; None for any other method."""
    document = _absent(root, setting).get(method)
    if document is None or _is_current(root, f"results/{setting}/metrics/{method}.json"):
        return None
    data = f"results/{setting}/data/train.safetensors"
    planned = root / f"results/{setting}/keys/scores/{method}.safetensors.json"
    summary = checked(f"results/summaries/{setting}.json")
    made = round(1000 * datetime.datetime.fromisoformat(summary.created_at).timestamp())
    tags = _remarks(document)
    return Record(
        setting=setting,
        method=method,
        key=hashlib.sha256(json.dumps([setting, method, reason(document)]).encode()).hexdigest(),
        params={},
        metrics={},
        tags=tags | {"mlflow.source.name": "proponent publish"},
        data_digest=checked(data).sha256 if read_manifest(root / data) else "",
        data_source=json.dumps({"uri": data}),
        configuration={"scores": read_json(planned)["spec"]} if planned.exists() else {},
        begun=made,
        ended=made,
        status=_STATUS.get(tags["outcome"], "FAILED"),
    )


def _left_out(root: Path, paths: Sequence[str]) -> list[str]:
    """Return the paths that metrics would have of the methods that cannot run on the settings of ``paths``."""
    settings = dict.fromkeys(path.split("/")[1] for path in paths)
    return [
        f"results/{setting}/metrics/{method}.json"
        for setting in settings
        for method, document in _absent(root, setting).items()
        if "left_out" in document and f"results/{setting}/metrics/{method}.json" not in paths
    ]


def _absent(root: Path, setting: str) -> dict[str, Document]:
    """Return the documents of the methods without scores in the leaderboard of a setting, by method."""
    if not (root / ranking_path(setting)).exists():
        return {}
    documents = read_ranking(root, setting).documents
    return {document["method"]: document for document in documents if reason(document)}


def _is_current(root: Path, artefact: str) -> bool:
    """Return whether an artefact of a setting has the key that was planned last."""
    _, setting, name = artefact.split("/", 2)
    key_file = root / f"results/{setting}/keys/{name}.json"
    return key_file.exists() and is_current(root, artefact, read_json(key_file)["key"])


def _remarks(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the reason for which a method has no scores, or the notes about its values, as tags and as the description."""
    text = note(document)
    tags = {"note": text[:_LONGEST_TAG], "mlflow.note.content": text[:_LONGEST_TAG]} if text else {}
    if reason(document):
        ended = _OUTCOME.search(text)
        tags["outcome"] = ended[1] if ended else "failed"
    return tags


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


def _table(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per metric with value, interval and ceiling."""
    return [
        {"metric": metric} | {name: entry.get(name) for name in TABLE_COLUMNS[1:]}
        for metric, entry in document["metrics"].items()
    ]


def _gallery(root: Path, setting: str, method: str, checked: Callable[[str], Manifest]) -> str:
    """Return the page with the strongest examples of a method; empty if the report of the setting has other scores.

    The key of the report is not compared: after a run with failures, it is that of the methods that have scores.
    """
    path, scores = f"results/{setting}/report/section.json", f"results/{setting}/scores/{method}.safetensors"
    if read_manifest(root / path) is None or checked(path).inputs.get(scores) != checked(scores).key:
        return ""
    return render_gallery(Section(**read_json(root / path)), method)


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
