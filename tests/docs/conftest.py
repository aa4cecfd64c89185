"""One checkout for all guides: who reads them one after the other keeps what is already there, and so do the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docs.guides import Reader, clone


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader after `make env` and `make test`, whose environment is the one that these tests run in.

    Installing takes minutes and the network, so `.venv` holds links to what is in this environment, and the stamps by
    which the Makefile knows that the locks are installed.
    """
    root = clone(tmp_path_factory.mktemp("reader") / "proponent")
    environment = root / ".venv"
    environment.mkdir()
    stamps = (".runtime", ".development")
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in stamps:
            (environment / entry.name).symlink_to(entry)
    for stamp in stamps:
        (environment / stamp).touch()
    return Reader(root)
