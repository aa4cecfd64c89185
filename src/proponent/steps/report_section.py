"""``proponent report-section``: what the report shows of one setting, and its charts as SVG and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proponent.publish.ranking import Ranking
from proponent.publish.report.answers import answer
from proponent.publish.report.chart import Chart
from proponent.publish.report.section import (
    Origin,
    Section,
    coverage,
    failed_section,
    leaderboard_rows,
    metric_names,
)
from proponent.publish.report.setting_charts import cost_chart, loss_chart, quality_chart, tuning_chart
from proponent.steps.io.rankings import comparisons_path, load_ranking
from proponent.steps.io.section_examples import SectionJob, ShownParts, shown_examples
from proponent.store.files import read_json
from proponent.store.manifest import Manifest, read_manifest

_NUMBERS = ("difference", "ci_low", "ci_high", "p_holm")


def run(job: SectionJob) -> None:
    """Write ``results/S/report/section.json``, and each chart as ``results/S/report/NAME.svg`` and ``NAME.csv``."""
    spec = job.spec
    if spec.failed:
        job.write_json(job.artefact, failed_section(spec.setting, spec.description, spec.failed).content())
        return
    ranking = load_ranking(job, spec.setting, job.inputs.summary)
    charts = _charts(job, ranking)
    folder = Path(job.artefact).parent
    for name, chart in charts.items():
        job.write_bytes(f"{folder}/{name}.svg", chart.svg().encode())
        job.write_bytes(f"{folder}/{name}.csv", chart.csv().encode())
    explained = _explanations(job)
    clusters = explained.get("clusters", [])
    shown = shown_examples(job, ranking, _described(job), clusters) if job.inputs.data else ShownParts()
    manifests = list(_manifests(job))
    section = Section(
        setting=spec.setting,
        description=spec.description,
        facts=spec.facts | _counts(job),
        answers=[asdict(entry) for entry in answer(ranking, _comparisons(job))],
        metrics=metric_names(ranking),
        rows=leaderboard_rows(ranking, spec.kinds),
        coverage=coverage(ranking, spec.kinds),
        missing={metric: why for why, metrics in ranking.missing_by_reason.items() for metric in metrics},
        charts={name: asdict(chart) for name, chart in charts.items()},
        gallery=None if shown.gallery is None else asdict(shown.gallery),
        suspicious=None if shown.suspicious is None else asdict(shown.suspicious),
        everywhere=None if shown.everywhere is None else asdict(shown.everywhere),
        clusters=clusters if shown.gallery is not None else [],
        without_heat=explained.get("reasons", {}),
        meanings={name: text for name, text in spec.meanings.items() if name in ranking.ranks},
        card=_described(job).get("card"),
        origins=[asdict(_origin(manifest)) for manifest in manifests],
        versions={name: version for manifest in manifests for name, version in manifest.versions.items()},
    )
    job.write_json(job.artefact, section.content())


def _charts(job: SectionJob, ranking: Ranking) -> dict[str, Chart]:
    found = {
        "quality": quality_chart(ranking),
        "cost": cost_chart(ranking),
        "loss": loss_chart(list(_trainings(job))),
        "tuning": tuning_chart(_tuning_records(job)),
    }
    return {name: chart for name, chart in found.items() if chart is not None}


def _trainings(job: SectionJob) -> Iterator[Mapping[str, Any]]:
    """Yield the records of the trainings of all members."""
    for shard in job.inputs.ensemble:
        folder = job.read(shard).parent
        for member in read_json(job.root / shard)["members"]:
            path = folder / f"member-{member:03d}/training.json"
            if path.exists():
                yield read_json(path)


def _tuning_records(job: SectionJob) -> dict[str, Mapping[str, Any]]:
    """Return the tuning record by method, which is a part of the method's scores, for the tuned methods."""
    paths = {method: f"results/{job.spec.setting}/tuning/{method}.json" for method in job.spec.methods}
    parts = {
        method: {part.path for part in manifest.parts}
        for method, path in job.inputs.scores.items()
        if (manifest := read_manifest(job.root / path))
    }
    return {
        method: read_json(job.root / path) for method, path in paths.items() if path in parts.get(method, ())
    }


def _comparisons(job: SectionJob) -> list[dict[str, Any]]:
    path = job.root / comparisons_path(job.spec.setting)
    with path.open(encoding="utf-8", newline="") as stream:
        return [{**row, **{name: float(row[name]) for name in _NUMBERS}} for row in csv.DictReader(stream)]


def _described(job: SectionJob) -> dict[str, Any]:
    if not job.inputs.data:
        return {}
    content: dict[str, Any] = read_json(job.read(job.inputs.data).with_name("description.json"))
    return content


def _counts(job: SectionJob) -> dict[str, str]:
    described = _described(job)
    if not described:
        return {}
    counts = {"training examples": f"{described['n_train']:,}"}
    counts["queries"] = f"{described['n_tune']:,} for tuning, {described['n_test']:,} for the results"
    names = described["class_names"]
    return counts | ({"classes": ", ".join(names)} if names else {})


def _explanations(job: SectionJob) -> dict[str, Any]:
    """Return clusters, and reasons for which methods have no heat maps; empty without explanations."""
    if not job.inputs.explanations:
        return {}
    content: dict[str, Any] = read_json(job.read(job.inputs.explanations).with_suffix(".json"))
    return content


def _manifests(job: SectionJob) -> Iterator[Manifest]:
    """Yield the manifests of the setting's data, models, scores, metrics and summary."""
    setting = job.spec.setting
    metrics = [f"results/{setting}/metrics/{method}.json" for method in job.inputs.scores]
    data = [job.inputs.data] if job.inputs.data else []
    for path in (*data, *job.inputs.ensemble, *job.inputs.scores.values(), *metrics, job.inputs.summary):
        if (manifest := read_manifest(job.root / path)) is not None:
            yield manifest


def _origin(manifest: Manifest) -> Origin:
    return Origin(
        artefact=manifest.artefact,
        step=manifest.step,
        key=manifest.key,
        commit=manifest.commit or "",
        created=manifest.created_at,
        device=f"{manifest.device or 'not recorded'}, {manifest.threads} thread{'s' * (manifest.threads > 1)}",
        seconds=manifest.seconds,
    )
