"""The reader of guides: it must not ignore a block or a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.guides import (
    REPOSITORY,
    Block,
    blocks_of,
    check_printed,
    configured_methods,
    method_module,
    without_averages,
)

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])

GUIDE = """\
Say this:

```yaml file=configs/a.yaml
x: 1
```

```bash
echo one
echo two
```

```text
o…
two
```
"""


def text(content: str) -> Block:
    return Block("here", "text", None, content)


def test_blocks_have_language_file_and_line(tmp_path):
    guide = tmp_path / "guide.md"
    guide.write_text(GUIDE)
    assert blocks_of(guide) == [
        Block("guide.md:3", "yaml", "configs/a.yaml", "x: 1\n"),
        Block("guide.md:7", "bash", None, "echo one\necho two\n"),
        Block("guide.md:12", "text", None, "o…\ntwo\n"),
    ]


@pytest.mark.parametrize("expected", ["one\ntwo\n", "o…e\nt…\n", "two\n", "two  lines\n"])
def test_printed_lines_are_found_in_order(expected):
    check_printed("one\nzero\n two\ntwo lines\n", text(expected))


@pytest.mark.parametrize("expected", ["two\none\n", "on\n", "three\n", "two lines\ntwo lines\n"])
def test_a_line_that_was_not_printed_is_an_error(expected):
    with pytest.raises(AssertionError, match="was not printed"):
        check_printed("one\nzero\n two\ntwo lines\n", text(expected))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_fenced_block_is_ignored(page):
    """Every fence on every page opens or closes a block that the reader finds."""
    fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_have_existing_targets(page: Path):
    content = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", content) if not target.startswith("http")]
    for target in targets:
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, f"{page.name} links to {target}"


def test_every_method_has_a_section_that_links_to_its_module():
    page = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
    described = {
        name
        for title in re.findall(r"^### (.+)$", page, re.MULTILINE)
        for name in re.findall(r"`([\w-]+)`", title)
    }
    methods = configured_methods()
    assert set(without_averages(described)) == set(methods)
    modules = {method_module(family) for family in methods.values()}
    assert {module for module in modules if f"../{module}" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page: Path):
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    sources = " ".join(path.read_text(encoding="utf-8") for path in REPOSITORY.glob("tests/*/test_*.py"))
    assert {name for name in named if f"def {name}(" not in sources} == set()
