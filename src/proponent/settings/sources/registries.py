"""Packages of registries as files, downloaded by the registry's ordinary client without their dependencies.

The client uses the mirrors, proxies and certificates that the machine's administrator has set. A package is kept in the
cache of :mod:`proponent.settings.fetched_files` under its digest, and it is read from there: nothing of it is installed,
imported or run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from proponent.settings.fetched_files import cache_folder, kept_file

TIMEOUT = 900
"""Seconds after which a client counts as unable to download a package."""


class Registry(Enum):
    """Registries of packages, by the name of what they serve."""

    debian = "Debian"
    npm = "npm"
    pypi = "PyPI"


_SUFFIX = {Registry.debian: ".deb", Registry.npm: ".tgz", Registry.pypi: ".whl"}
_CLIENT = {Registry.debian: "apt-get", Registry.npm: "npm", Registry.pypi: sys.executable}


@dataclass(frozen=True)
class Package:
    """One version of a package, by the digest of its archive.

    Attributes:
        registry: registry that serves it.
        name: its name there.
        version: its version there.
        sha256: SHA-256 digest of its archive, in lower case.
    """

    registry: Registry
    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return the package as messages name it."""
        return f"{self.registry.value} package {self.name} {self.version}"

    @property
    def cached(self) -> Path:
        """Path of the archive in the cache; a file that a user places there is used without a network."""
        return cache_folder() / (self.sha256 + _SUFFIX[self.registry])


def fetch_package(package: Package) -> Path:
    """Return the archive of a package: the one in the cache, or else downloaded and verified.

    Raises:
        UserError: the archive is not in the cache and cannot be downloaded, or it has another digest; the message says
            where to place it.
    """
    return kept_file(str(package), package.sha256, package.cached, lambda target: _download(package, target))


def _download(package: Package, target: Path) -> None:
    """Let the registry's client download a package, and move its archive to ``target``.

    Raises:
        OSError: the client is not installed, or fails.
    """
    client = shutil.which(_CLIENT[package.registry])
    if client is None:
        raise OSError(f"{_CLIENT[package.registry]}, which downloads it, is not installed")
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", suffix=".part", dir=target.parent) as name:
        folder = Path(name)
        archives = folder / "archives"
        archives.mkdir()
        for command in _commands(client, package, folder):
            failure = _run(command, archives)
            found = list(archives.glob(f"*{_SUFFIX[package.registry]}"))
            if failure is None and found:
                found[0].replace(target)
                return
    raise OSError(failure or f"{Path(client).name} downloaded nothing")


def _commands(client: str, package: Package, folder: Path) -> list[list[str]]:
    """Return the commands that are tried in order, each in the folder of archives, until one has downloaded the package."""
    if package.registry is Registry.pypi:
        options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
        return [[client, "-m", "pip", "download", *options, f"{package.name}=={package.version}"]]
    if package.registry is Registry.npm:
        return [[client, "pack", "--ignore-scripts", "--loglevel=error", f"{package.name}@{package.version}"]]
    # Where the lists of packages are missing or old, new ones are kept for this download alone, which needs no root.
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder / 'cache'}"]
    download = ["-qq", "download", f"{package.name}={package.version}"]
    return [[client, *download], [client, *own, "-qq", "update"], [client, *own, *download]]


def _run(command: list[str], folder: Path) -> str | None:
    """Run a client in a folder and return None, or the last line of what it says if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are constants of dataset modules, without a shell
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"{Path(command[0]).name} did not end within {TIMEOUT} seconds"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return f"{Path(command[0]).name}: {lines[-1] if lines else f'exit code {done.returncode}'}"
