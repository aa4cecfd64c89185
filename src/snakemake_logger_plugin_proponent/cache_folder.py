"""Check of Snakemake's cache folder, which is in the user's home. Plugins are the first code of this project in a run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from snakemake.common import get_appdirs


def stop_without_cache_folder() -> None:
    """Exit with status 1 and one line if the cache folder cannot be made; Snakemake would print a traceback."""
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
