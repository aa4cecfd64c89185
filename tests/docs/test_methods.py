"""docs/methods.md has a section for every method, and each says what a reader wants to know of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs/methods").glob("*.yaml"))
WANTED = ("idea", "needs", "cost", "fails", "source")
WITHOUT = {"random": {"fails", "source"}, "same-label": {"source"}}
"""There is nobody to cite, and nothing that noise fails at."""


def sections() -> dict[str, str]:
    """Return the text of each method's section, by name."""
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        for name in re.findall(r"`([^`]+)`", heading):
            found[name] = re.split(r"^## ", body, flags=re.MULTILINE)[0]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_method_has_its_idea_formula_needs_cost_failures_and_source(name: str) -> None:
    section = sections()[name]
    bold = {word.lower() for word in re.findall(r"\*\*(\w+)", section)}
    assert set(WANTED) - WITHOUT.get(name, set()) <= bold


def test_the_table_at_the_head_names_every_method_and_no_other() -> None:
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text.partition("\n## ")[0], flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(named) == NAMES


def test_those_with_a_self_influence_are_named() -> None:
    said = (ROOT / "docs/methods.md").read_text(encoding="utf-8").partition("## What `mislabel` sorts by")[2]
    families = {
        name: yaml.safe_load((ROOT / f"configs/methods/{name}.yaml").read_text())["family"] for name in NAMES
    }
    having = {
        name
        for name, family in families.items()
        if "def self_influence(" in (ROOT / f"src/proponent/methods/{family}.py").read_text()
    }
    assert set(re.findall(r"`([^`]+)`", said)) - {"mislabel"} == having
