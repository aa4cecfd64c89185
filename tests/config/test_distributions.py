"""Versions and sources of third-party imports: no import of a step is left out of its key silently."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proponent.config.digests.distributions import index_of
from proponent.config.digests.source_digest import SourceTree
from proponent.errors import UserError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "checkout").mkdir()
    return tmp_path / "checkout"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on ``sys.path`` outside the checkout."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(folder: Path, distribution: str, version: str, package: str, source: str = "x = 1\n") -> Path:
    """Lay out a package and its metadata as pip does, and return the folder of the metadata."""
    for old in folder.glob(f"{distribution.replace('-', '_')}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    module = folder / f"{package}.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(source)
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{package}.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return info


def digest(checkout: Path, source: str) -> tuple[dict[str, str], dict[str, str]]:
    (checkout / "factory.py").write_text(source)
    return SourceTree((checkout,)).digest(["factory"])


def test_a_distribution_of_another_name_than_its_import_is_known_by_its_version(checkout, elsewhere) -> None:
    install(elsewhere, "Open-CV_python", "4.9.0+cpu", "cv_of_this_test")
    sources, versions = digest(checkout, "import cv_of_this_test\n")
    assert versions == {"python": versions["python"], "open-cv-python": "4.9.0"}
    assert set(sources) == {"factory"}
    install(elsewhere, "Open-CV_python", "4.10.0", "cv_of_this_test")
    assert digest(checkout, "import cv_of_this_test\n")[1]["open-cv-python"] == "4.10.0"


@pytest.mark.parametrize(
    ("package", "distribution"),
    [("antlr4", "antlr4-python3-runtime"), ("dateutil", "python-dateutil"), ("sklearn", "scikit-learn")],
)
def test_packages_of_this_environment_are_found_under_their_own_names(
    checkout, package, distribution
) -> None:
    assert distribution in digest(checkout, f"import {package}\n")[1]


@pytest.mark.slow
def test_the_index_of_this_environment_is_that_of_the_standard_library() -> None:
    """Slower, and the oracle: which distributions provide each name."""
    expected = importlib.metadata.packages_distributions()
    site = {Path(one.locate_file("")).resolve() for one in importlib.metadata.distributions()}
    found: dict[str, set[str]] = {}
    for folder in site:
        for name, distributions in index_of(folder).items():
            found.setdefault(name, set()).update(one.metadata["Name"] for one in distributions)
    importable = {name for name in expected if name.isidentifier()}
    assert len(importable) > 50
    assert {name: found[name] for name in importable} == {name: set(expected[name]) for name in importable}


def test_all_distributions_of_a_namespace_package_count(checkout, elsewhere) -> None:
    install(elsewhere, "space-one", "1.0", "space_of_this_test/one")
    install(elsewhere, "space-two", "2.0", "space_of_this_test/two")
    _, versions = digest(checkout, "from space_of_this_test.one import x\n")
    assert versions["space-one"] == "1.0"
    assert versions["space-two"] == "2.0"


def test_a_module_on_the_path_without_a_distribution_is_digested_with_its_imports(
    checkout, elsewhere
) -> None:
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine/__init__.py").write_text("")
    (elsewhere / "mine/core.py").write_text("from other_of_mine import half\nimport numpy\n")
    (elsewhere / "other_of_mine.py").write_text("half = 0.5\n")
    text = "from mine.core import half\n"
    sources, versions = digest(checkout, text)
    assert set(sources) == {"factory", "mine.core", "other_of_mine"}
    assert set(versions) == {"python", "numpy"}
    (elsewhere / "other_of_mine.py").write_text("half = 0.5  # a comment\n")
    assert digest(checkout, text)[0] == sources
    (elsewhere / "other_of_mine.py").write_text("half = 0.6\n")
    assert digest(checkout, text)[0]["other_of_mine"] != sources["other_of_mine"]


@pytest.mark.parametrize("editable", [True, False])
def test_an_install_from_a_folder_is_digested(checkout, elsewhere, tmp_path, monkeypatch, editable) -> None:
    """Editable: the code is in the folder, the metadata in site-packages. Otherwise site-packages holds a copy."""
    info = install(elsewhere, "lab-tools", "1.0", "lab_tools")
    code = elsewhere
    if editable:
        code = tmp_path / "lab"
        code.mkdir()
        (elsewhere / "lab_tools.py").rename(code / "lab_tools.py")
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/top_level.txt,,\n")
        (info / "top_level.txt").write_text("lab_tools\n")
        monkeypatch.syspath_prepend(str(code))
    direct = {"url": (tmp_path / "lab").as_uri(), "dir_info": {"editable": editable}}
    (info / "direct_url.json").write_text(json.dumps(direct))
    sources, _ = digest(checkout, "import lab_tools\n")
    assert set(sources) == {"factory", "lab_tools"}
    (code / "lab_tools.py").write_text("x = 2\n")
    assert digest(checkout, "import lab_tools\n")[0]["lab_tools"] != sources["lab_tools"]


def test_source_next_to_metadata_of_an_earlier_build_is_digested(checkout, elsewhere) -> None:
    """A folder of source that setup.py has left its egg-info in, on PYTHONPATH."""
    (elsewhere / "lab_tools.py").write_text("x = 1\n")
    info = elsewhere / "lab_tools.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: lab-tools\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("lab_tools\n")
    assert "lab_tools" in digest(checkout, "import lab_tools\n")[0]


def test_an_install_from_a_repository_is_known_by_its_commit_and_one_from_an_archive_by_its_hash(
    checkout, elsewhere
) -> None:
    info = install(elsewhere, "lab-tools", "1.0", "lab_tools")
    for direct, version in (
        ({"url": "https://example.org/lab", "vcs_info": {"vcs": "git", "commit_id": "abc"}}, "1.0@abc"),
        ({"url": "file:///lab.whl", "archive_info": {"hash": "sha256=12"}}, "1.0@sha256=12"),
        ({"url": "file:///lab.whl", "archive_info": {"hashes": {"sha256": "34"}}}, "1.0@sha256=34"),
        ({"url": "https://example.org/lab.whl", "archive_info": {"hash": "sha256=12"}}, "1.0"),
    ):
        (info / "direct_url.json").write_text(json.dumps(direct))
        assert digest(checkout, "import lab_tools\n")[1]["lab-tools"] == version


def test_an_import_that_cannot_be_found_is_one_line(checkout) -> None:
    with pytest.raises(UserError) as caught:
        digest(checkout, "import nothing_of_that_name.inside\n")
    assert str(caught.value) == (
        f"{checkout}/factory.py: imports 'nothing_of_that_name.inside', which is neither in the checkout nor installed; "
        "install it, or import it inside try/except ImportError if it is optional"
    )


def test_a_missing_module_of_the_checkout_is_one_line_with_or_without_init(checkout) -> None:
    (checkout / "lab").mkdir()
    (checkout / "lab/there.py").write_text("x = 1\n")
    assert set(digest(checkout, "from lab import there\nimport lab\n")[0]) == {"factory", "lab.there"}
    with pytest.raises(UserError, match=r"factory\.py: imports 'lab\.missing'"):
        digest(checkout, "import lab.missing\n")


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import guarded_of_this_test\nexcept ImportError:\n    guarded_of_this_test = None\n",
        "try:\n    import guarded_of_this_test\nexcept (KeyError, ModuleNotFoundError):\n    pass\n",
        "import sys\nif sys.platform == 'none':\n    import guarded_of_this_test\n",
        "def plot():\n    import guarded_of_this_test\n",
    ],
    ids=["try", "one of several exceptions", "if", "function"],
)
def test_an_import_that_may_fail_counts_as_absent_until_it_is_installed(checkout, elsewhere, source) -> None:
    assert digest(checkout, source)[1]["guarded_of_this_test"] == "absent"
    install(elsewhere, "guarded", "1.0", "guarded_of_this_test")
    versions = digest(checkout, source)[1]
    assert versions["guarded"] == "1.0"
    assert "guarded_of_this_test" not in versions


def test_the_imports_of_an_optional_module_are_optional_unless_another_module_needs_it(checkout) -> None:
    (checkout / "plots.py").write_text("import guarded_of_this_test\n")
    guarded = "try:\n    import plots\nexcept ImportError:\n    plots = None\n"
    sources, versions = digest(checkout, guarded)
    assert set(sources) == {"factory", "plots"}
    assert versions["guarded_of_this_test"] == "absent"
    (checkout / "other.py").write_text("import plots\n")
    with pytest.raises(UserError, match=r"plots\.py: imports 'guarded_of_this_test'"):
        digest(checkout, f"{guarded}import other\n")


def test_a_missing_starting_point_is_one_line(checkout) -> None:
    (checkout / "lab").mkdir()
    with pytest.raises(UserError, match=r"^no module 'lab\.missing' in "):
        SourceTree((checkout,)).digest(["lab.missing"])


def test_a_try_that_handles_other_errors_guards_nothing(checkout) -> None:
    with pytest.raises(UserError, match="imports 'guarded_of_this_test'"):
        digest(checkout, "try:\n    import guarded_of_this_test\nexcept KeyError:\n    pass\n")


def test_a_compiled_extension_of_the_checkout_is_digested_as_bytes(checkout) -> None:
    import importlib.machinery

    extension = checkout / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    extension.write_bytes(b"\x7fELF one")
    before = digest(checkout, "import fast\n")[0]
    extension.write_bytes(b"\x7fELF two")
    assert digest(checkout, "import fast\n")[0]["fast"] != before["fast"]


def test_a_job_notices_a_change_outside_the_checkout_before_it_starts(checkout, elsewhere) -> None:
    (elsewhere / "mine_alone.py").write_text("x = 1\n")
    recorded, _ = digest(checkout, "import mine_alone\nimport numpy\n")
    assert SourceTree((checkout,)).changes(["factory"], recorded) == []
    (elsewhere / "mine_alone.py").write_text("x = 2\n")
    assert SourceTree((checkout,)).changes(["factory"], recorded) == ["mine_alone"]


def test_a_job_does_not_index_the_installed_distributions(checkout, monkeypatch) -> None:
    recorded, _ = digest(checkout, "import numpy\nimport yaml\n")

    def refuse(folder: Path) -> None:
        raise AssertionError(f"{folder} is indexed, which costs a tenth of a second per job")

    monkeypatch.setattr("proponent.config.digests.distributions.index_of", refuse)
    assert SourceTree((checkout,)).changes(["factory"], recorded) == []


def test_an_editable_install_by_pip_is_digested_through_its_import_hook(checkout, tmp_path) -> None:
    """The hook of setuptools, which maps the import to a folder that is not on ``sys.path``."""
    (tmp_path / "lab/hooked").mkdir(parents=True)
    (tmp_path / "lab/hooked/__init__.py").write_text("from hooked.core import x\n")
    (tmp_path / "lab/hooked/core.py").write_text("x = 1\n")
    (checkout / "factory.py").write_text("import hooked\n")
    program = f"""
import sys
from importlib.machinery import PathFinder
from pathlib import Path
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(tmp_path / "lab")!r}]) if name == "hooked" else None
sys.meta_path.append(Finder)
from proponent.config.digests.source_digest import SourceTree
print(sorted(SourceTree((Path({str(checkout)!r}),)).digest(["factory"])[0]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "['factory', 'hooked', 'hooked.core']"
