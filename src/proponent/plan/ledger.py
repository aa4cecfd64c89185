"""The ledger of times: which content each file of ``results/`` had in which whole second.

DVC, rsync and backup programs take a file for unchanged if its size and modification time are unchanged, some of them in
whole seconds. Jobs write new content at a new time, but a checkout, a link or a copy that keeps times can give a file
another content with a time that it had before. The ledger makes that visible, so that settling can move the file to
another second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proponent.store.file_times import SECOND
from proponent.store.files import replacing

_DIGITS = 16
"""Hexadecimal digits of a content that are kept."""
_KEPT = 8
"""Seconds that are kept per file, those recorded last."""


@dataclass
class Ledger:
    """Contents by file and second. Times are in nanoseconds; contents are any digests."""

    path: Path
    entries: dict[str, dict[str, str]] = field(default_factory=dict)
    """Digest by second, by file; the last one is that of the present content."""
    is_changed: bool = False

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger; one that is missing or damaged is empty."""
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            entries = {}
        is_valid = isinstance(entries, Mapping) and all(isinstance(seen, dict) for seen in entries.values())
        return cls(path, dict(entries) if is_valid else {})

    def earliest(self, name: str, content: str, now: int) -> int:
        """Return the first time that a content of a file may get: later than all others, unless it is the last recorded one.

        ``cp -u`` copies a file only if it is newer than the copy. Times after ``now`` are those of a clock that was wrong.
        """
        seen = self.entries.get(name)
        if not seen or not content or list(seen.values())[-1] == content[:_DIGITS]:
            return 0
        past = [second for second in map(int, seen) if second * SECOND <= now]
        return (max(past) + 1) * SECOND if past else 0

    def claim(self, name: str, time: int, content: str) -> bool:
        """Record the content of a file in the second of ``time``, and return whether no other content is recorded there."""
        seen, second = self.entries.setdefault(name, {}), str(time // SECOND)
        if seen.get(second, content[:_DIGITS]) != content[:_DIGITS]:
            return False
        if not seen or list(seen)[-1] != second:
            seen.pop(second, None)
            seen[second] = content[:_DIGITS]
            self.is_changed = True
        if len(seen) > _KEPT:
            del seen[next(iter(seen))]
        return True

    def save(self) -> None:
        """Write the ledger if anything was recorded since it was read.

        Raises:
            UserError: the file cannot be written.
        """
        if self.is_changed:
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(self.entries, separators=(",", ":")), encoding="utf-8")
            self.is_changed = False
