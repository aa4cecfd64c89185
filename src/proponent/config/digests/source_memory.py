"""Digests of source that earlier processes computed in a checkout, valid as long as their surroundings are unchanged.

Parsing the package and following its definitions takes a second at every start of Snakemake, and up to one in every job.
Together with the digests, a file in ``.snakemake`` holds all answers of :class:`Surroundings` behind them: which file
each module is, the sha256 of every file, the installed distributions. A process that gets the same answers would compute
the same digests. Answers are compared in full and sizes and times are not used, so that nothing stale can be taken for
current. With any other answer, everything is computed again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from proponent.config.digests.surroundings import Surroundings

MEMORY = ".snakemake/source-digests.json"
"""File of the memory, below the root of the checkout; it can be removed at any time."""
_CHECKOUT = "<checkout>"
"""Stands for the root in the file, so that it is valid in a copy of the checkout."""
Digests = tuple[dict[str, str], dict[str, str]]
"""Digests of sources by module, and versions by distribution."""


@dataclass
class SourceMemory:
    """The remembered digests of a checkout.

    Args:
        root: the checkout.
    """

    root: Path
    _digests: dict[str, Digests] | None = None
    """By starting points; None before the file was read."""
    _new: Surroundings | None = field(default=None, repr=False)
    """The surroundings of digests that are not in the file; None without such digests."""

    def recall(self, start: tuple[str, ...], surroundings: Surroundings) -> Digests | None:
        """Return the digests of some starting points; None where they are not known or no longer valid."""
        if self._digests is None:
            stored = _read(self.root)
            is_valid = stored is not None and _is_same(stored["answers"], surroundings)
            self._digests = stored["digests"] if stored and is_valid else {}
        found = self._digests.get(_name(start))
        return None if found is None else (dict(found[0]), dict(found[1]))

    def add(self, start: tuple[str, ...], digests: Digests, surroundings: Surroundings) -> None:
        """Remember digests that were computed in these surroundings."""
        self._digests = {**(self._digests or {}), _name(start): digests}
        self._new = surroundings

    def is_unchanged(
        self, start: tuple[str, ...], sources: Mapping[str, str], surroundings: Surroundings
    ) -> bool:
        """Return whether the sources of some starting points certainly have these digests.

        Installed distributions are not looked at, because that needs an index of all of them.
        """
        stored = _read(self.root)
        return (
            stored is not None
            and _name(start) in stored["digests"]
            and stored["digests"][_name(start)][0] == sources
            and _is_same([one for one in stored["answers"] if one[0][0] != "provider"], surroundings)
        )

    def unsaved(self) -> dict[str, Any] | None:
        """Return the content that the file should have; None if it has it."""
        if self._new is None:
            return None
        answers = [[list(question), answer] for question, answer in self._new.answers.items()]
        content = {"code": _code(), "digests": self._digests, "answers": answers}
        return dict(_replaced(content, str(self.root), _CHECKOUT))


def _read(root: Path) -> dict[str, Any] | None:
    """Return the content of the file; None if it is missing, malformed or of another version of this code."""
    try:
        stored = json.loads((root / MEMORY).read_text(encoding="utf-8"))
        if stored["code"] != _code():
            return None
        stored = _replaced(stored, _CHECKOUT, str(root))
        answers = [(tuple(question), answer) for question, answer in stored["answers"]]
        digests = {
            name: (dict(sources), dict(versions)) for name, (sources, versions) in stored["digests"].items()
        }
        return {"digests": digests, "answers": answers}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_same(answers: list[tuple[tuple[str, ...], Any]], surroundings: Surroundings) -> bool:
    return all(surroundings.ask(question) == answer for question, answer in answers)


def _name(start: tuple[str, ...]) -> str:
    return " ".join(start)


def _replaced(value: Any, old: str, new: str) -> Any:
    """Return a value of JSON in which paths below ``old`` are below ``new``."""
    if isinstance(value, str):
        is_below = value == old or value.startswith(f"{old}/")
        return f"{new}{value[len(old) :]}" if is_below else value
    if isinstance(value, (list, tuple)):
        return [_replaced(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    return value


@cache
def _code() -> str:
    """Return a digest of the code that computes digests, and of the version of Python."""
    found = hashlib.sha256(platform.python_version().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
