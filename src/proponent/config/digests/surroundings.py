"""Surroundings of digests of source: modules on disk, their bytes, and installed distributions.

Everything outside of the process that digests depend on is asked through one object, which keeps the answers. Equal answers
give equal digests, so that a later process need not compute digests again if it finds the answers unchanged
(:mod:`proponent.config.digests.source_memory`).
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.digests.distributions import Distributions, Provider, import_places

Question = tuple[str, ...]
"""The name of a method of :class:`Surroundings`, without its underscore, and its arguments."""


@dataclass
class Surroundings:
    """Answers about the file system and the environment; each question is answered once.

    Args:
        roots: folders of the checkout from which modules are imported, in this order.
    """

    roots: tuple[Path, ...]
    answers: dict[Question, Any] = field(default_factory=dict)
    """Answers that were given, in the types of JSON."""

    def __post_init__(self) -> None:
        self._distributions = Distributions(self.roots)

    def ask(self, question: Question) -> Any:
        """Return the answer to a question, in the types of JSON."""
        if question not in self.answers:
            self.answers[question] = getattr(self, f"_{question[0]}")(*question[1:])
        return self.answers[question]

    def module(self, name: str) -> Path | None:
        """Return the file of a module below the first of the roots that has it."""
        return _path(self.ask(("module", name)))

    def module_in(self, name: str, place: Path) -> Path | None:
        """Return the file of a module of the package in a folder, or of the single module in a file."""
        return _path(self.ask(("module_in", name, str(place))))

    def is_folder(self, path: Path) -> bool:
        """Return whether a path is a folder."""
        return bool(self.ask(("is_folder", str(path))))

    def is_file(self, path: Path) -> bool:
        """Return whether a path is a file."""
        return bool(self.ask(("is_file", str(path))))

    def content(self, path: Path) -> str | None:
        """Return the sha256 of a file; None if it cannot be read."""
        digest: str | None = self.ask(("content", str(path)))
        return digest

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file, whose digest then is an answer.

        Raises:
            OSError: the file cannot be read.
        """
        found = path.read_bytes()
        self.answers["content", str(path)] = hashlib.sha256(found).hexdigest()
        return found

    def places(self, top: str) -> tuple[Path, ...] | None:
        """Return what :func:`proponent.config.digests.distributions.import_places` finds."""
        found = self.ask(("places", top))
        return None if found is None else tuple(map(Path, found))

    def provider(self, top: str) -> Provider | None:
        """Return the provider of a top-level import name, or None where it is not installed.

        Raises:
            UserError: the name belongs to a distribution without a version.
        """
        found = self.ask(("provider", top))
        return None if found is None else Provider(found[0], tuple(map(Path, found[1])))

    def _module(self, name: str) -> str | None:
        return _file_of(name, self.roots)

    def _module_in(self, name: str, place: str) -> str | None:
        if not Path(place).is_dir():
            return place if "." not in name else None
        return _file_of(".".join([Path(place).name, *name.split(".")[1:]]), [Path(place).parent])

    def _is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def _is_file(self, path: str) -> bool:
        return Path(path).is_file()

    def _content(self, path: str) -> str | None:
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            return None

    def _places(self, top: str) -> list[str] | None:
        found = import_places(top)
        return None if found is None else list(map(str, found))

    def _provider(self, top: str) -> list[Any] | None:
        found = self._distributions.provider(top)
        return None if found is None else [found.versions, list(map(str, found.source))]


def _path(answer: str | None) -> Path | None:
    return None if answer is None else Path(answer)


def _file_of(module: str, roots: Iterable[Path]) -> str | None:
    """Return the file of a module below the first of ``roots`` that has it: Python source, or a compiled extension."""
    relative = module.replace(".", os.sep)
    endings = (
        f"{os.sep}__init__.py",
        *importlib.machinery.EXTENSION_SUFFIXES,
        ".py",
    )  # as Python looks for them
    paths = (f"{root}{os.sep}{relative}{ending}" for root in roots for ending in endings)
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 - asked thousands of times
