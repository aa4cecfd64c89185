"""Preparation of what Snakemake expects of a user: a name and a folder for its cache.

Plugins are the first code of this project in a run. Without these checks Snakemake would print a traceback.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path

from snakemake.common import get_appdirs


def prepare_user_environment() -> None:
    """Give a nameless user a name, and stop with status 1 and one line if the cache folder is not writable."""
    try:
        getpass.getuser()
    except (
        KeyError,
        OSError,
    ):  # a number without a name, as in a container: torch fails for lack of a name, too
        os.environ["LOGNAME"] = str(os.getuid())
    folder = Path(get_appdirs().user_cache_dir, "snakemake/source-cache/snakemake-runtime-cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            pass
    except OSError as error:
        print(
            f"error: {error.filename or folder}: {error.strerror}; Snakemake keeps its cache there: "
            "set XDG_CACHE_HOME to a folder that you can write to",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
