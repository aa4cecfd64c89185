"""One checkout for all guides: like a user, the tests keep the results of earlier guides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docs.guides import Reader, clone


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader after `make env` and `make test`, with the environment in which these tests run.

    Installing takes minutes and needs the network. Therefore `.venv` contains links to this environment, and the stamp
    files that tell the Makefile that the locked packages are installed. Jobs retrain more models than by default, because
    starting one takes seconds; the models are the same.
    """
    root = clone(tmp_path_factory.mktemp("reader") / "proponent")
    params = root / "params.yaml"
    content = params.read_text(encoding="utf-8")
    assert "models_per_job: 50 " in content
    params.write_text(content.replace("models_per_job: 50 ", "models_per_job: 500 "), encoding="utf-8")
    environment = root / ".venv"
    environment.mkdir()
    stamps = (".runtime", ".development")
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in stamps:
            (environment / entry.name).symlink_to(entry)
    for stamp in stamps:
        (environment / stamp).touch()
    return Reader(root)
