"""Remembered digests of source: whatever changes, they are those that a process without a memory computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from proponent.config.digests import distributions, source_memory
from proponent.config.digests.source_digest import SourceTree
from proponent.config.digests.source_memory import MEMORY, SourceMemory

START = ["lab.step:run"]
FILES = {
    "src/proponent/__init__.py": "",
    "src/proponent/given.py": "def given():\n    return 1\n",
    "lab/__init__.py": "",
    "lab/step.py": (
        "import tools_of_this_test\nfrom lab.helpers import helper\nfrom space import inner\n"
        "from proponent.given import given\n\n"
        "def run():\n    return helper(), given(), inner.x, tools_of_this_test.y\n"
    ),
    "lab/helpers.py": "from lab import constants\n\ndef helper():\n    return constants.SIZE\n",
    "lab/constants.py": "SIZE = 3\nUNUSED = 4\n",
    "space/inner.py": "x = 1\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def install(folder: Path, version: str) -> None:
    """Install a distribution with one module, in place of an earlier version."""
    for old in folder.glob("*.dist-info"):
        shutil.rmtree(old)
    info = folder / f"tools-{version}.dist-info"
    write(
        folder,
        {
            "tools_of_this_test.py": "y = 1\n",
            f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: tools\nVersion: {version}\n",
            f"{info.name}/RECORD": f"tools_of_this_test.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n",
        },
    )


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    install(tmp_path / "site-packages", "1.0")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    return tmp_path / "site-packages"


@pytest.fixture
def checkout(tmp_path: Path, packages: Path) -> Path:
    root = tmp_path / "checkout"
    write(root, FILES)
    return root


def tree(root: Path, *, with_memory: bool = True) -> SourceTree:
    return SourceTree((root / "src", root), SourceMemory(root) if with_memory else None)


def remember(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Digest with the memory, write the memory as a run does, and return the digests."""
    made = tree(root)
    found = made.digest(START)
    content = made.memory.unsaved()
    if content is not None:
        write(root, {MEMORY: json.dumps(content)})
    return found


def test_unchanged_source_is_not_parsed_again(checkout: Path, tmp_path: Path) -> None:
    first = remember(checkout)
    for root in (checkout, shutil.copytree(checkout, tmp_path / "copy")):
        again = tree(root)
        assert again.digest(START) == first == tree(root, with_memory=False).digest(START)
        assert again.changes(START, first[0]) == []
        assert not again._parsed
        assert again.memory.unsaved() is None


def test_other_starting_points_are_added(checkout: Path) -> None:
    first = remember(checkout)
    made = tree(checkout)
    other = made.digest(["lab.constants"])
    write(checkout, {MEMORY: json.dumps(made.memory.unsaved())})
    again = tree(checkout)
    assert again.digest(["lab.constants"]) == other
    assert again.digest(START) == first
    assert not again._parsed


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "a definition": lambda root, _: write(root, {"lab/constants.py": "SIZE = 5\nUNUSED = 4\n"}),
    "a definition that nothing uses": lambda root, _: write(
        root, {"lab/constants.py": "SIZE = 3\nUNUSED = 5\n"}
    ),
    "a comment": lambda root, _: write(root, {"lab/helpers.py": f"# a comment\n{FILES['lab/helpers.py']}"}),
    "a new import": lambda root, _: write(
        root, {"lab/constants.py": "import json\nSIZE = len(json.dumps([]))\n"}
    ),
    "a package in place of a module": lambda root, _: write(
        root, {"lab/constants/__init__.py": "SIZE = 6\n"}
    ),
    "a module in src that comes first": lambda root, _: write(
        root,
        {
            "src/lab/__init__.py": "",
            **{f"src/{name}": text for name, text in FILES.items() if "lab/" in name},
        },
    ),
    "a namespace that becomes a package": lambda root, _: write(
        root, {"space/__init__.py": "print('effect')\n"}
    ),
    "a module in place of a package": lambda root, _: write(root, {"tools_of_this_test.py": "y = 3\n"}),
    "a module below a package of the checkout": lambda root, _: write(
        root, {"lab/helpers/helper.py": "a = 1\n"}
    ),
    "an upgrade": lambda _, packages: install(packages, "1.1"),
    "a distribution without its metadata": lambda _, packages: shutil.rmtree(
        next(packages.glob("*.dist-info"))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_digests_are_those_of_a_process_without_a_memory(
    checkout: Path, packages: Path, change: str
) -> None:
    before = remember(checkout)
    CHANGES[change](checkout, packages)
    fresh = tree(checkout, with_memory=False)
    expected = fresh.digest(START)
    assert tree(checkout).digest(START) == expected
    assert tree(checkout).changes(START, before[0]) == tree(checkout, with_memory=False).changes(
        START, before[0]
    )
    assert remember(checkout) == expected
    assert tree(checkout).digest(START) == expected


def test_a_file_that_is_gone_is_an_error_as_without_a_memory(checkout: Path) -> None:
    remember(checkout)
    (checkout / "src/proponent/given.py").unlink()
    said = "imports 'proponent.given.given', which is neither in the checkout nor installed"
    for with_memory in (False, True):
        with pytest.raises(Exception, match=said):
            tree(checkout, with_memory=with_memory).digest(START)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"code": 1}', "null"])
def test_a_malformed_memory_is_ignored(checkout: Path, content: str) -> None:
    first = remember(checkout)
    write(checkout, {MEMORY: content})
    assert tree(checkout).digest(START) == first
    assert tree(checkout).changes(START, first[0]) == []


def test_the_memory_of_another_version_of_the_digests_is_ignored(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remember(checkout)
    monkeypatch.setattr(source_memory, "_code", lambda: "another")
    again = tree(checkout)
    assert again.digest(START) == first
    assert again._parsed


def test_a_job_with_a_memory_does_not_index_the_installed_distributions(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remember(checkout)

    def refuse(folder: Path) -> None:
        raise AssertionError(f"{folder} is indexed, which costs a tenth of a second per job")

    monkeypatch.setattr(distributions, "index_of", refuse)
    again = tree(checkout)
    assert again.changes(START, first[0]) == []
    assert not again._parsed
