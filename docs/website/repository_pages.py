"""Hooks of MkDocs: pages for the README, the notebook and the files of the repository that the documentation links to.

On GitHub, links such as ``../src/proponent/attributor.py`` open the file. The site has a page for each file that is linked,
so that these links stay within it and a link to a file that does not exist fails the build.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

REPOSITORY = Path(__file__).parents[2]
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_TITLED = re.compile(r"^```(\w+) file=(\S+)$", re.MULTILINE)
_NO_SEARCH = "---\nsearch: {exclude: true}\n---\n\n"
_FENCE = "`" * 4


def on_config(config: MkDocsConfig) -> None:
    """Give headings the anchors that GitHub gives them, so that links with an anchor work in both places."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages of files outside ``docs/``, and of the notebook."""
    found = {f"docs/{file.src_uri}" for file in files}
    waiting = ["README.md", *(name for name in sorted(found) if name.endswith(".md"))]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            files.append(File.generated(config, _address(name), content=_content(name)))
        if name.endswith(".md"):
            waiting += [link for link in _linked(name) if link not in found]
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        for added in _of_notebook(notebook, config):
            files.append(added)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the pages of the site, and give code blocks the name of their file as title."""
    folder = PurePosixPath(page.file.src_uri).parent

    def replaced(found: re.Match[str]) -> str:
        target = _resolved(_origin(page.file.src_uri), found[1])
        return f"]({os.path.relpath(_address(target), folder)}" if target else found[0]

    parts = _FENCED.split(markdown)  # code blocks are at the odd positions
    parts[::2] = [_LINK.sub(replaced, text) for text in parts[::2]]
    return _TITLED.sub(r'```\1 title="\2"', "".join(parts))


def _address(name: str) -> str:
    """Return the address, within the site's sources, of a file of the repository."""
    if name == "README.md":
        return "index.md"
    if name.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", name.removeprefix("docs/"))
    if name.endswith(".md"):
        return name
    return f"files/{name}/index.md" if (REPOSITORY / name).is_dir() else f"files/{name}.md"


def _origin(address: str) -> str:
    """Return the file of the repository of a page that has links."""
    if address == "index.md":
        return "README.md"
    return f"docs/{address}" if (REPOSITORY / "docs" / address).exists() else address


def _resolved(origin: str, link: str) -> str | None:
    """Return the path in the repository that a link names; None if there is no such file."""
    path = os.path.normpath(PurePosixPath(origin).parent / link)
    return path if not path.startswith("..") and (REPOSITORY / path).exists() else None


def _linked(name: str) -> list[str]:
    text = "".join(_FENCED.split((REPOSITORY / name).read_text(encoding="utf-8"))[::2])
    return [target for link in _LINK.findall(text) if (target := _resolved(name, link))]


def _content(name: str) -> str:
    """Return the page of a file or folder outside ``docs/``."""
    path = REPOSITORY / name
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    heading = f"{_NO_SEARCH}# `{name}`\n\n"
    if path.is_dir():
        entries = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
        return heading + "\n".join(f"- `{entry}`" for entry in entries if not entry.startswith(("_", ".")))
    text = path.read_text(encoding="utf-8")
    return heading + _fenced(path.suffix.lstrip("."), text)


def _of_notebook(notebook: File, config: MkDocsConfig) -> list[File]:
    """Return a notebook as a page with its text, its code and what the code has printed, and the pictures of the page."""
    stem = notebook.src_uri.removesuffix(".ipynb")
    shown: list[str] = []
    pictures: list[File] = []
    for cell in json.loads((REPOSITORY / "docs" / notebook.src_uri).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        shown.append(source if cell["cell_type"] == "markdown" else _fenced("python", source))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{len(pictures)}.png"
                pictures.append(File.generated(config, name, content=b64decode(data["image/png"])))
                shown.append(f"![Output of the cell above]({name})")
            else:
                shown.append(_fenced("text", "".join(output.get("text") or data["text/plain"]).rstrip()))
    return [File.generated(config, f"{stem}.md", content="\n\n".join(shown)), *pictures]


def _fenced(language: str, text: str) -> str:
    return f"{_FENCE}{language}\n{text}\n{_FENCE}"
