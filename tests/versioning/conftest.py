"""The small setting under git and DVC, run, recorded and pushed once; tests work on clones of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from workflow.checkout import REPOSITORY, Checkout, make_checkout

VERSIONED = ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")


@dataclass
class Versioned(Checkout):
    """A git repository with DVC, in which `snakemake` runs as it does for a user."""

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments).stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def commit(self, message: str) -> str:
        """Commit everything and return the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def environment(self) -> dict[str, str]:
        who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return {**super().environment(), **who, "DVC_NO_ANALYTICS": "1", "MPLBACKEND": "agg"}


def versioned(root: Path) -> Versioned:
    """Lay out the checkout as a git repository; nothing is run."""
    checkout = make_checkout(root)
    # Jobs cost seconds, and what DVC does depends on the kinds of files only.
    for all_of_toy, fewer in (
        ("[random, graddot, trak]", "[graddot, trak]"),
        ("[lds, loo]", "[lds]"),
        ("models_per_job: 20", "models_per_job: 40"),
    ):
        checkout.edit("params.yaml", all_of_toy, fewer)
    (root / ".dvc").mkdir()
    for name in VERSIONED:
        shutil.copy(REPOSITORY / name, root / name)
    repository = Versioned(root)
    repository.git("init", "-q", "-b", "main")
    repository.commit("Nothing run yet")
    return repository


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Versioned:
    """Recorded by `dvc repro`, committed, and pushed to a remote that is a directory.

    What `dvc repro` makes itself is compared with these results by test_laws.py.
    """
    folder = tmp_path_factory.mktemp("versioned")
    repository = versioned(folder / "origin")
    repository.dvc("remote", "add", "--default", "storage", str(folder / "storage"))
    repository.make_all()
    repository.dvc("repro")
    repository.commit("Run")
    repository.dvc("push")
    return repository


@pytest.fixture
def clone(origin: Versioned, tmp_path: Path) -> Versioned:
    """A fresh clone; nothing is pulled yet."""
    origin.git("clone", "-q", str(origin.root), str(tmp_path / "clone"))
    return Versioned(tmp_path / "clone")


@pytest.fixture
def pulled(clone: Versioned) -> Versioned:
    """A fresh clone after `dvc pull`."""
    clone.dvc("pull")
    return clone
