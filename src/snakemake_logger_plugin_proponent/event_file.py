"""Writer of the event file; the package's docstring defines the format."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import IO, Any

FOLDER = Path(".snakemake/proponent")


class EventFile:
    """The event file of one run, created by its first event."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._stream: IO[str] | None = None

    def write(self, event: str, time: float, **fields: Any) -> None:
        """Append one event and flush it, so that readers see it while the run goes on.

        Args:
            event: name of the event.
            time: seconds since 1970.
            fields: further fields, representable in JSON.
        """
        if self._stream is None:
            self._stream = self._create(time)
        line = json.dumps({"event": event, "time": round(time, 3), **fields}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self, time: float) -> None:
        """Write the last event; without effect if nothing was written."""
        if self._stream is not None:
            self.write("ended", time)
            self._stream.close()
            self._stream = None

    def _create(self, time: float) -> IO[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        start = datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        return (self._folder / f"{start}-{os.getpid()}.jsonl").open("w", encoding="utf-8")
