"""docs/versioning.md and docs/reproducing.md, executed from the first line to the last with the small setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docs.guides import Block, Reader, check_printed
from versioning.conftest import Versioned

pytestmark = pytest.mark.slow


@dataclass
class RenamingReader(Reader):
    """A reader who uses the small setting instead of `digits-lr`, with a separate home directory."""

    variables: dict[str, str] = field(default_factory=dict)

    def shell(self, commands, where, variables=None):
        return (
            super().shell(commands.replace("digits-lr", "toy"), where, variables).replace("toy", "digits-lr")
        )

    def environment(self):
        return {**super().environment(), **self.variables}


def test_every_command_of_the_guide_to_versions(clone: Versioned, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    reader = RenamingReader(clone.root, {**clone.environment(), "HOME": str(home)})
    done = reader.follow("docs/versioning.md")
    assert len(done) == 4
    assert any((home / "proponent-storage").rglob("*"))
    listed = done[1].printed
    check_printed(listed, Block("table", "text", None, "…slower…\n"))
    clone.run("proponent", "verify")


def test_every_command_of_the_guide_for_reviewers(origin: Versioned, clone: Versioned):
    origin.run("proponent", "pack", "toy", "--output", str(clone.root / "toy.tar"))
    RenamingReader(clone.root, clone.environment()).follow("docs/reproducing.md")
    assert clone.tensors() == origin.tensors()
    clone.run("proponent", "verify")
