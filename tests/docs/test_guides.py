"""The reader of guides itself: it must not pass over a block or a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from docs.guides import REPOSITORY, Block, blocks_of, check_printed

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


def test_blocks_come_with_language_file_and_line(tmp_path):
    guide = tmp_path / "guide.md"
    guide.write_text(GUIDE)
    assert blocks_of(guide) == [
        Block("guide.md:3", "yaml", "configs/a.yaml", "x: 1\n"),
        Block("guide.md:7", "bash", None, "echo one\necho two\n"),
        Block("guide.md:12", "text", None, "o…\ntwo\n"),
    ]


@pytest.mark.parametrize("expected", ["one\ntwo\n", "o…e\nt…\n", "two\n", "two  lines\n"])
def test_lines_are_looked_for_in_order(expected):
    check_printed("one\nzero\n two\ntwo lines\n", text(expected))


@pytest.mark.parametrize("expected", ["two\none\n", "on\n", "three\n", "two lines\ntwo lines\n"])
def test_a_line_that_was_not_printed_fails(expected):
    with pytest.raises(AssertionError, match="was not printed"):
        check_printed("one\nzero\n two\ntwo lines\n", text(expected))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_fence_is_passed_over(page):
    """Every fence of every page opens or closes a block that is found."""
    fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path):
    content = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", content) if not target.startswith("http")]
    for target in targets:
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, f"{page.name} links to {target}"


def test_every_method_has_its_section():
    page = (REPOSITORY / "docs/methods.md").read_text(encoding="utf-8")
    described = {
        name
        for title in re.findall(r"^### (.+)$", page, re.MULTILINE)
        for name in re.findall(r"`([\w-]+)`", title)
    }
    methods = {
        path.stem: yaml.safe_load(path.read_text())
        for path in (REPOSITORY / "configs/methods").glob("*.yaml")
    }
    assert described == set(methods)
    modules = {f"src/proponent/methods/{method['family']}.py" for method in methods.values()}
    assert {module for module in modules if f"../{module}" not in page} == set()
