"""Folders of MLflow's artifacts of a local database: in ``mlruns/`` next to the database, also after both were moved.

MLflow records absolute paths, so that after ``mv`` it would read and write in the folder where the checkout used to be, and
after ``cp -r`` in that of the original.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_LOCATIONS = """
SELECT experiment_id, artifact_location FROM experiments
WHERE experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = 'proponent')
"""
_MOVE_EXPERIMENT = "UPDATE experiments SET artifact_location = :new WHERE experiment_id = :experiment"
_MOVE_RUNS = """
UPDATE runs SET artifact_uri = :new || substr(artifact_uri, length(:old) + 1)
WHERE experiment_id = :experiment AND substr(artifact_uri, 1, length(:old)) = :old
"""


def artifact_root(database: Path) -> str:
    """Return the URI of the folder of artifacts; as a plain path, ``%20`` or ``?`` in it would be misread."""
    return (database.resolve().parent / "mlruns").as_uri()


def follow_moved_database(database: Path) -> None:
    """Let the experiments of this project point to the folder next to the database if their artifacts are there.

    An experiment whose recorded folder exists elsewhere, and not here, is left alone.

    Raises:
        sqlite3.Error: the database cannot be read or written, or its tables are not those that this module knows.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for experiment, old in connection.execute(_LOCATIONS).fetchall():
            recorded = local_path(old)
            if recorded is None:
                continue
            here = database.resolve().parent / "mlruns" / recorded.name
            if recorded != here and (here.exists() or not recorded.exists()):
                values = {"experiment": experiment, "old": old, "new": here.as_uri()}
                connection.execute(_MOVE_EXPERIMENT, values)
                connection.execute(_MOVE_RUNS, values)


def local_path(uri: str) -> Path | None:
    """Return the folder that a URI of MLflow names, or None if it is not on this machine."""
    if "://" not in uri and not uri.startswith("mlflow-artifacts:"):
        return Path(uri)
    return Path(url2pathname(urlsplit(uri).path)) if uri.startswith("file:") else None
