"""``proponent report``: one page of all settings, without references to other files."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from proponent import __version__
from proponent.config.specifications.step_inputs import ReportInputs
from proponent.config.specifications.table_specs import ReportSpec
from proponent.publish.report.overview_chart import settings_chart
from proponent.publish.report.page import Origins, render
from proponent.publish.report.section import Section, failed_section
from proponent.settings.cards import read_card
from proponent.steps.io.job import Job
from proponent.steps.io.process import git_commit
from proponent.store.files import read_json


def run(job: Job[ReportSpec, ReportInputs]) -> None:
    """Write ``results/report/index.html``, and the chart of all settings as ``settings.svg`` and ``settings.csv``."""
    sections = [
        failed_section(setting, "", job.spec.failed[setting])
        if setting in job.spec.failed
        else Section(**read_json(job.read(job.inputs.sections[setting])))
        for setting in job.spec.settings
    ]
    overview = settings_chart(
        [
            {
                "setting": section.setting,
                **{name: row[name] for name in ("method", "value", "rank", "ceiling")},
            }
            for section in sections
            for row in section.rows
            if row["metric"] == "lds"
        ]
    )
    if overview is not None:
        job.write_bytes("results/report/settings.svg", overview.svg().encode())
        job.write_bytes("results/report/settings.csv", overview.csv().encode())
    versions = dict(sorted({name: v for section in sections for name, v in section.versions.items()}.items()))
    origins = Origins(
        version=__version__,
        commit=git_commit(job.root) or "not in a git repository",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        machine=f"{platform.platform()}, Python {platform.python_version()}",
        versions=versions,
        licences={name: _licence(name) for name in versions},
    )
    job.write_bytes(job.artefact, render(sections, overview, _cards(sections), origins).encode())


def _cards(sections: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """Return the data card by setting, for the settings that have one."""
    return {
        section.setting: asdict(read_card(section.card)) for section in sections if section.card is not None
    }


def _licence(distribution: str) -> str:
    """Return the licence that an installed distribution states, in a few words."""
    try:
        stated = importlib.metadata.metadata(distribution).json
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
    named = [line.split(" :: ")[-1] for line in stated.get("classifier", ()) if line.startswith("License ::")]
    text = str(stated.get("license_expression") or ", ".join(named) or stated.get("license", "")).strip()
    first = text.partition("\n")[0]
    return first if first and len(first) < 80 else "see its files"
