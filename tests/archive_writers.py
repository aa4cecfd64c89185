"""Small archives of packages, written by hand as the registries' own tools write them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from proponent.settings.sources import Package, Registry


def tar_bytes(files: Mapping[str, bytes], mode: str, prefix: str = "") -> bytes:
    """Return a tar archive of a folder and some files.

    Args:
        files: content by name.
        mode: mode of :func:`tarfile.open`, such as ``w:gz``.
        prefix: beginning of every name, such as ``./``.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        folder = tarfile.TarInfo(f"{prefix}usr")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def write_deb(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a Debian package (deb(5)): an ar archive, in which members of odd length are padded to an even one."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        "data.tar.xz": tar_bytes(files, "w:xz", "./"),
    }
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    path.write_bytes(b"".join(parts))


def write_tgz(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a package of npm: a compressed tar archive."""
    path.write_bytes(tar_bytes(files, "w:gz"))


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive, such as a wheel or a compressed score."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def write_wheel(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a package of PyPI: a zip archive."""
    path.write_bytes(zip_bytes(files))


def place_package(
    module: ModuleType,
    registry: Registry,
    files: Mapping[str, bytes],
    folder: Path,
    patch: pytest.MonkeyPatch,
) -> None:
    """Place a small package in a new cache, and let a dataset's module read it in place of the real one.

    Args:
        module: module that names its package ``PACKAGE``.
        registry: the registry, which decides the format of the package.
        files: content by name.
        folder: the cache.
        patch: keeps the change until the end of the test.
    """
    patch.setenv("PROPONENT_CACHE", str(folder))
    write = {Registry.debian: write_deb, Registry.npm: write_tgz, Registry.pypi: write_wheel}[registry]
    write(folder / "package", files)
    package = Package(registry, "small", "1", hashlib.sha256((folder / "package").read_bytes()).hexdigest())
    (folder / "package").rename(package.cached)
    patch.setattr(module, "PACKAGE", package)
