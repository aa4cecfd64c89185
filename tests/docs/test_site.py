"""The documentation as a site: it builds strictly, has all public names, and loads nothing from other machines."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import proponent
import proponent.metrics
import proponent.settings
from docs.guides import REPOSITORY, blocks_of

CONFIG = "docs/website/mkdocs.yml"
MODULES = {
    "proponent": proponent,
    "proponent.metrics": proponent.metrics,
    "proponent.settings": proponent.settings,
}


def build(checkout: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does; with ``--quiet``, MkDocs would not count warnings as errors."""
    command = ["-m", "mkdocs", "build", "--strict", "--config-file", CONFIG, "--site-dir", str(to)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this checkout."""
    folder = tmp_path_factory.mktemp("site")
    done = build(REPOSITORY, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_broken_links_fail_the_build(tmp_path):
    """A checkout of three pages; those that the navigation names in addition are missing as well."""
    shutil.copytree(REPOSITORY / "docs/website", tmp_path / "docs/website")
    (tmp_path / "README.md").write_text("[right](docs/tasks.md) [right](docs/website/mkdocs.yml)\n")
    (tmp_path / "docs/tasks.md").write_text("# Tasks\n\n[right](../README.md) [right](#tasks)\n")
    broken = ("nowhere.md", "tasks.md#nowhere", "../src/nowhere.py", "nowhere.png")
    (tmp_path / "docs/models.md").write_text("".join(f"[broken]({link})\n" for link in broken))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    warned = re.findall(r"contains a link '([^']+)'", done.stderr)
    assert sorted(warned) == sorted(broken)


def text_of(page: Path) -> str:
    """Return the text of a page without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    text = text_of(site / "reference.html")
    names = [f"{module}.{name}" for module, found in MODULES.items() for name in found.__all__]
    documented = [
        name for name in names if name != "proponent.metrics"
    ]  # a module, of which every function is there
    assert [name for name in documented if name not in text] == []
    assert not re.search(r":(func|class|meth|mod):|``", text)
    assert "Tensor – (n_query, n_train) float32 on the CPU, in units of the method" in " ".join(text.split())


@pytest.mark.slow
def test_every_document_has_a_page_in_the_navigation(site):
    def files(entry):
        for name in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [name] if isinstance(name, str) else [file for item in name for file in files(item)]

    listed = [
        file for item in yaml.safe_load((REPOSITORY / CONFIG).read_text())["nav"] for file in files(item)
    ]
    documents = [*(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "docs").glob("*.ipynb")]
    named = {"index.md"} | {f"{document.stem}.md" for document in documents}
    assert sorted(listed) == sorted(named), f"name every document under nav in {CONFIG}"
    assert all((site / file).with_suffix(".html").exists() for file in listed)


@pytest.mark.slow
def test_every_block_of_code_is_shown_as_code(site):
    """Blocks of a guide that name a file have the name as title."""
    for guide in (REPOSITORY / "docs").glob("*.md"):
        page = (site / f"{guide.stem}.html").read_text(encoding="utf-8")
        blocks = blocks_of(guide)
        assert page.count("<code data-line-number") + page.count("<pre>") >= len(blocks), guide.name
        assert "```" not in text_of(site / f"{guide.stem}.html"), guide.name
        for block in blocks:
            assert block.file is None or f'<span class="filename">{block.file}</span>' in page


@pytest.mark.slow
def test_links_to_the_sources_lead_to_pages_of_the_site(site):
    page = (site / "methods.html").read_text(encoding="utf-8")
    linked = re.findall(r'href="(files/[^"]+)"', page)
    assert len(linked) > 30
    assert all((site / link).is_file() for link in linked)
    assert "def attribute" in text_of(site / "files/src/proponent/methods/trak/trak.py.html")


@pytest.mark.slow
def test_no_page_loads_anything_from_another_machine(site):
    """Scripts, styles, fonts and pictures are files of the site; other addresses are links for the reader."""
    loaded = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\" >]+)")
    found = {
        address
        for page in site.rglob("*.html")
        for address in loaded.findall(page.read_text(encoding="utf-8"))
    }
    assert found == set()
