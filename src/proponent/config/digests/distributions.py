"""Distributions behind third-party imports: their versions, or their source where a version does not identify the code.

A version identifies the code of a distribution that was installed from an index. It does not for an editable install, an
install from a folder, or a module that is on ``sys.path`` without belonging to a distribution (``PYTHONPATH``, a ``.pth``
file): the source of these is digested as that of the checkout is.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from proponent.errors import UserError

_SITE_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Provider:
    """What a top-level import name stands for."""

    versions: dict[str, str]
    """By distribution; several for a namespace package. Empty for a module of Python itself."""
    source: tuple[Path, ...]
    """Folders of packages, and files of single modules, whose source is digested in place of a version."""


@dataclass
class Distributions:
    """Lookup of import names; a folder of installed distributions is indexed at the first lookup in it."""

    checkout: tuple[Path, ...] = ()
    """Roots of the checkout: a folder without ``__init__.py`` in them is not an installed package."""
    _found: dict[str, Provider | None] = field(default_factory=dict)
    _indexes: dict[Path, dict[str, list[importlib.metadata.Distribution]]] = field(default_factory=dict)
    """Distributions by import name, by the folder into which they are installed."""

    def provider(self, name: str) -> Provider | None:
        """Return the provider of a top-level import name, or None where it is not installed.

        Raises:
            UserError: the name belongs to a distribution without a version.
        """
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def _look_up(self, name: str) -> Provider | None:
        found_in = import_places(name)
        own = {os.path.realpath(root) for root in self.checkout}
        places = [place for place in found_in or () if str(place.parent) not in own]
        if found_in is None or (found_in and not places):
            return None
        versions: dict[str, str] = {}
        source: list[Path] = []
        for place in places:
            installed = self._installed_in(place.parent, name)
            found = {_canonical(one.metadata["Name"]): identifying_version(one) for one in installed}
            versions |= {key: version for key, version in found.items() if version is not None}
            if not found or None in found.values():
                source.append(place)
        return Provider(versions, tuple(source))

    def _installed_in(self, folder: Path, name: str) -> list[importlib.metadata.Distribution]:
        """Return the distributions that provide ``name`` and are installed into ``folder``, not merely linked to it."""
        if folder not in self._indexes:
            self._indexes[folder] = index_of(folder)
        return self._indexes[folder].get(name, [])


def index_of(folder: Path) -> dict[str, list[importlib.metadata.Distribution]]:
    """Return the distributions that are installed into a folder of ``sys.path``, by the top-level names they provide.

    These are the names of :func:`importlib.metadata.packages_distributions`, which takes three times as long because it
    makes an object of every installed file.

    Args:
        folder: real path.
    """
    found: dict[str, list[importlib.metadata.Distribution]] = {}
    for one in importlib.metadata.distributions(path=[str(folder)]):
        if os.path.realpath(str(one.locate_file(""))) == str(folder):
            for name in _provided(one):
                found.setdefault(name, []).append(one)
    return found


def _provided(one: importlib.metadata.Distribution) -> set[str]:
    """Return the top-level import names of a distribution: those that it declares, otherwise those of its files."""
    declared = (one.read_text("top_level.txt") or "").split()
    if declared:
        return set(declared)
    recorded = one.read_text("RECORD")
    if recorded is None:
        files = [str(file) for file in one.files or ()]
    else:
        files = [row[0] for row in csv.reader(recorded.splitlines()) if row]
    tops = (file.partition("/") for file in files if file.endswith(".py"))
    return {top if slash else top.removesuffix(".py") for top, slash, _ in tops}


def import_places(name: str) -> tuple[Path, ...] | None:
    """Return the folders of a package, or the file of a single module, that ``import name`` finds.

    Returns:
        Real paths; empty for a module that is built into Python; None where nothing is found.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        folders = dict.fromkeys(os.path.realpath(folder) for folder in spec.submodule_search_locations)
        return tuple(map(Path, folders))
    if not spec.has_location or spec.origin is None:
        return ()
    return (Path(os.path.realpath(spec.origin)),)


def identifying_version(one: importlib.metadata.Distribution) -> str | None:
    """Return a text that changes whenever the code of a distribution does; None where its source has to be digested.

    That is its public version. The local part (``+cpu``) is left out: it names a build, not what the code computes. An
    install from a repository adds the commit, one from an archive on disk the hash of the archive.

    Raises:
        UserError: the distribution has no version.
    """
    if not one.version:
        raise UserError(f"{one.locate_file('')}: {one.metadata['Name']} has no version; install it again")
    version = one.version.split("+")[0]
    direct = json.loads(one.read_text("direct_url.json") or "{}")
    if "vcs_info" in direct:
        return f"{version}@{direct['vcs_info'].get('commit_id')}"
    if str(direct.get("url", "")).startswith("file:"):
        archive = direct.get("archive_info")
        if archive is None:
            return None
        hashes = archive.get("hashes") or {}
        digest = archive.get("hash") or next((f"{name}={value}" for name, value in hashes.items()), None)
        return f"{version}@{digest}" if digest else None
    # `setup.py develop` and PYTHONPATH: metadata next to source that may be edited
    is_record_missing = one.read_text("RECORD") is None
    in_site_folder = Path(str(one.locate_file(""))).name in _SITE_FOLDERS
    return None if is_record_missing and not in_site_folder else version


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def is_part_of_python(name: str) -> bool:
    """Return whether a top-level import name belongs to the standard library."""
    return name in sys.stdlib_module_names


def tops(modules: Iterable[str]) -> set[str]:
    """Return the top-level names of dotted ones."""
    return {module.partition(".")[0] for module in modules}
