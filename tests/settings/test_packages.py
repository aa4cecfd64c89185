"""Packages of registries: downloaded by the ordinary clients, verified, kept, and read without installing them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from archive_writers import write_deb, write_tgz
from proponent.errors import UserError
from proponent.settings.sources import Package, Registry, fetch_package, read_member, read_members

CONTENT = {"usr/share/data/a.txt": b"first", "usr/share/data/b.txt": b"second", "usr/share/doc/c": b"third"}


def write_archive(folder: Path, kind: str, files: Mapping[str, bytes] = CONTENT) -> Path:
    path = folder / f"package.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.mkdir("usr")
            for name, content in files.items():
                file.writestr(name, content)
    elif kind == "tgz":
        write_tgz(path, files)
    else:
        write_deb(path, files)
    return path


@pytest.mark.parametrize("kind", ["deb", "tgz", "whl"])
def test_the_chosen_files_of_an_archive_are_read_in_its_order(tmp_path, kind):
    archive = write_archive(tmp_path, kind)
    assert dict(read_members(archive, lambda name: True)) == CONTENT
    chosen = [name for name, _ in read_members(archive, lambda name: name.endswith(".txt"))]
    assert chosen == ["usr/share/data/a.txt", "usr/share/data/b.txt"]
    assert read_member(archive, "usr/share/doc/c") == b"third"
    with pytest.raises(UserError, match=r"has no file 'usr/share/data/d\.txt'; check the version"):
        read_member(archive, "usr/share/data/d.txt")


@pytest.mark.parametrize(
    "kind, damage",
    [
        *((kind, damage) for kind in ("deb", "tgz", "whl") for damage in ("cut", "other")),
        ("deb", "changed"),
        ("whl", "changed"),
    ],
)
def test_a_damaged_archive_is_one_line(tmp_path, kind, damage):
    archive = write_archive(tmp_path, kind, {"numbers": b" ".join(b"%d" % row for row in range(20000))})
    whole = bytearray(archive.read_bytes())
    middle = slice(len(whole) // 2, len(whole) // 2 + 50)
    if damage == "cut":
        del whole[middle.start :]
    elif damage == "changed":
        whole[middle] = bytes(byte ^ 255 for byte in whole[middle])
    else:
        whole = bytearray(b"<html>" * 100)
    archive.write_bytes(whole)
    with pytest.raises(UserError, match="cannot be read as an archive") as error:
        list(read_members(archive, lambda name: True))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not Path("/usr/bin/dpkg-deb").exists(), reason="dpkg-deb, the oracle, is not installed")
def test_a_package_of_dpkg_deb_is_read(tmp_path):
    (tmp_path / "tree/DEBIAN").mkdir(parents=True)
    (tmp_path / "tree/DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: m <m@m.invalid>\nDescription: d\n"
    )
    (tmp_path / "tree/opt").mkdir()
    (tmp_path / "tree/opt/file").write_bytes(b"content")
    command = ["dpkg-deb", "--build", "-Zxz", "tree", "x.deb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert dict(read_members(tmp_path / "x.deb", lambda name: True)) == {"opt/file": b"content"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put clients on the path that note how they are called, and write an archive unless there is a file ``broken``."""
    monkeypatch.setenv("PROPONENT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, suffix in (("apt-get", "deb"), ("npm", "tgz")):
        script = folder / name
        script.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, sys\n"
            f"calls = pathlib.Path({str(folder / 'calls')!r})\n"
            "calls.write_text((calls.read_text() if calls.exists() else '') + ' '.join(sys.argv[1:]) + '\\n')\n"
            "lists = any('Dir::State' in word for word in sys.argv)\n"
            f"if pathlib.Path({str(folder / 'broken')!r}).exists() and not lists:\n"
            "    sys.exit('some words\\nE: Unable to locate package')\n"
            f"if 'update' not in sys.argv: pathlib.Path('x.{suffix}').write_bytes(b'archive')\n"
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


DIGEST = hashlib.sha256(b"archive").hexdigest()


def calls(client: Path) -> list[str]:
    return (client / "calls").read_text().splitlines()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    "registry, call, suffix",
    [
        (Registry.debian, "-qq download data=1.0", ".deb"),
        (Registry.npm, "pack --ignore-scripts --loglevel=error data@1.0", ".tgz"),
    ],
)
def test_a_package_is_downloaded_once_by_its_client_and_kept_by_its_digest(client, registry, call, suffix):
    package = Package(registry, "data", "1.0", DIGEST)
    path = fetch_package(package)
    assert path == client.parent / "cache" / (DIGEST + suffix)
    assert path.read_bytes() == b"archive"
    assert fetch_package(package) == path
    assert calls(client) == [call]
    assert visible(path.parent) == [path.name]


def test_lists_of_packages_that_are_missing_are_fetched_for_this_download_alone(client):
    (client / "broken").touch()
    fetch_package(Package(Registry.debian, "data", "1.0", DIGEST))
    first, update, second = calls(client)
    assert first == "-qq download data=1.0"
    assert update.endswith("-qq update")
    assert update.removesuffix("update") == second.removesuffix("download data=1.0")
    assert str(client.parent / "cache") in update, "the lists of the system are not touched"


def test_a_package_that_cannot_be_had_is_named_with_the_place_where_it_belongs(client):
    (client / "broken").touch()
    with pytest.raises(UserError) as error:
        fetch_package(Package(Registry.npm, "data", "1.0", DIGEST))
    assert str(error.value) == (
        "fetch 'npm package data 1.0': npm: E: Unable to locate package; without a network, place the file with the "
        f"sha256 {DIGEST} at {client.parent / 'cache' / DIGEST}.tgz"
    )
    assert visible(client.parent / "cache") == []
    (client.parent / "cache" / f"{DIGEST}.tgz").write_bytes(b"archive")
    assert fetch_package(Package(Registry.npm, "data", "1.0", DIGEST)).read_bytes() == b"archive"


def test_a_client_that_is_not_installed_is_named(client, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        UserError, match="apt-get, which downloads it, is not installed; without a network, place"
    ):
        fetch_package(Package(Registry.debian, "data", "1.0", DIGEST))


def test_another_archive_than_the_expected_one_is_refused(client):
    with pytest.raises(UserError, match=f"npm package data 1.0': the file has the sha256 {DIGEST}, not 0000"):
        fetch_package(Package(Registry.npm, "data", "1.0", "0" * 64))
    assert visible(client.parent / "cache") == []
