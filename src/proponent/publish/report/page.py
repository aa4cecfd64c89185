"""The page of the report: a template filled with sections, with style, scripts and data inside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import jinja2

from proponent.formatting import duration
from proponent.publish.report.chart import LIGHT, Chart
from proponent.publish.report.section import Section

_FOLDER = "page_files"
_OPTIONAL = {"picture", "text", "sound", "pieces", "surprising", "heat", "weights"}
"""Parts of examples and of their influence that scripts take to be empty where they are absent."""


@dataclass(frozen=True)
class Origins:
    """Where the page comes from."""

    version: str
    """Version of this package."""
    commit: str
    created: str
    machine: str
    """Machine on which the page was made."""
    versions: Mapping[str, str]
    """Version of each third-party distribution that the results depend on."""
    licences: Mapping[str, str]


@dataclass(frozen=True)
class Gap:
    """A reason for which methods have no value on settings, or a note about their values."""

    state: str
    """``left out``, ``failed``, ``not possible`` for a metric, or ``note`` for a value that needs an explanation."""
    text: str
    of: Mapping[str, Sequence[str]]
    """Methods or metrics by setting."""


def render(
    sections: Sequence[Section],
    overview: Chart | None,
    cards: Mapping[str, Mapping[str, Any]],
    origins: Origins,
) -> str:
    """Return the page as HTML, without references to other files.

    Args:
        sections: section of each setting, in the order of the list to choose from.
        overview: chart of all settings.
        cards: data card by setting, as mappings of :class:`proponent.settings.cards.DataCard`.
        origins: version, commit and machine of the page.
    """
    import vl_convert

    charts = {} if overview is None else {"settings": asdict(overview)}
    data = {
        "settings": {section.setting: _data(section) for section in sections},
        "charts": {name: _without_rows(chart) for name, chart in charts.items()},
        "colours": LIGHT,
    }
    scripts = [
        vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
        _read("tablesort.min.js"),
        _read("report.js"),
    ]
    return _template("report.html.j2").render(
        sections=sections,
        charts=charts,
        methods=_methods(sections),
        states={
            section.setting: {entry["method"]: entry["state"] for entry in section.coverage}
            for section in sections
        },
        gaps=gaps(sections),
        cards=_by_card(cards),
        origins=origins,
        style=_read("report.css"),
        # No < in it, so that no text of an example ends the element.
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        scripts=[_in_script(script) for script in scripts],
    )


def render_gallery(section: Section, method: str) -> str:
    """Return the gallery of one method as a page of its own, without scripts; empty if the method is not in the gallery."""
    gallery = section.gallery
    if gallery is None or method not in gallery["strongest"]:
        return ""
    return _template("gallery.html.j2").render(
        setting=section.setting,
        method=method,
        cases=list(zip(gallery["queries"], gallery["strongest"][method], strict=True)),
        examples=gallery["examples"],
        style=_read("report.css"),
    )


def gaps(sections: Sequence[Section]) -> list[Gap]:
    """Return the reasons and notes of all settings; what has the same reason is together."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for section in sections:
        for entry in section.coverage:
            if entry["note"]:
                state = "note" if entry["state"] == "ran" else entry["state"]
                text = entry["note"].removeprefix("left out: ")
                found.setdefault((state, text), {}).setdefault(section.setting, []).append(entry["method"])
        for metric, why in section.missing.items():
            found.setdefault(("not possible", why), {}).setdefault(section.setting, []).append(metric)
    order = ("failed", "left out", "not possible", "note")
    return [
        Gap(state, text, of)
        for (state, text), of in sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    ]


def _methods(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """Return all methods with their kinds, by kind."""
    kinds = {entry["method"]: entry["kind"] for section in sections for entry in section.coverage}
    return sorted(kinds.items(), key=lambda item: (item[1], item[0]))


def _by_card(cards: Mapping[str, Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return each card with the settings that use its data."""
    found: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for setting, card in cards.items():
        found.setdefault(card["title"], (card, []))[1].append(setting)
    return [found[title] for title in sorted(found)]


def _data(section: Section) -> dict[str, Any]:
    """Return what scripts need of a section."""
    return {
        "metrics": section.metrics,
        "rows": section.rows,
        "charts": {name: _without_rows(chart) for name, chart in section.charts.items()},
        "meanings": section.meanings,
        **_without_empty(
            {
                "gallery": section.gallery,
                "suspicious": section.suspicious,
                "everywhere": section.everywhere,
                "clusters": section.clusters,
            }
        ),
    }


def _without_empty(value: Any) -> Any:
    """Return a value whose examples have no empty parts: most have neither a sound nor heat maps."""
    if isinstance(value, Mapping):
        return {
            name: _without_empty(entry) for name, entry in value.items() if entry or name not in _OPTIONAL
        }
    if isinstance(value, (list, tuple)):
        return [_without_empty(entry) for entry in value]
    return value


def _without_rows(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart whose specification does not repeat the rows."""
    spec = {name: value for name, value in chart["spec"].items() if name != "datasets"}
    return {**chart, "spec": spec}


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, _FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = duration
    return environment.get_template(name)


def _read(name: str) -> str:
    return files(__package__).joinpath(_FOLDER, name).read_text(encoding="utf-8")


def _in_script(script: str) -> str:
    """Return a script so that no string in it ends or comments out its element."""
    return re.sub("</(?=script)", r"<\\/", script, flags=re.IGNORECASE).replace("<!--", "<\\!--")
