"""docs/methods.md has a complete section for every method."""

from __future__ import annotations

import re

import pytest

from docs.guides import REPOSITORY, configured_methods, method_module, without_averages

NAMES = sorted(configured_methods())
WANTED = ("idea", "needs", "cost", "fails", "source")
WITHOUT = {"random": {"fails", "source"}, "same-label": {"source"}}
"""These baselines have no paper, and random scores have no purpose at which they could fail."""


def sections() -> dict[str, str]:
    """Return the text of each method's section, by name."""
    text = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
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


def test_the_first_table_names_every_method_and_no_other() -> None:
    text = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text.partition("\n## ")[0], flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(without_averages(named)) == NAMES


def test_the_last_section_names_the_methods_with_a_self_influence() -> None:
    text = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
    section = text.partition("## Self-influence and `mislabel`")[2]
    expected = {
        name
        for name, family in configured_methods().items()
        if "def self_influence(" in (REPOSITORY / method_module(family)).read_text(encoding="utf-8")
    }
    assert set(without_averages(re.findall(r"`([^`]+)`", section))) - {"mislabel"} == expected
