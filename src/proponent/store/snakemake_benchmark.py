"""Snakemake's own measurement of a job, the TSV file of the directive ``benchmark:``."""

from __future__ import annotations

from pathlib import Path


def read_benchmark(path: Path) -> tuple[float, float] | None:
    """Return the seconds and the peak memory in MiB that Snakemake measured.

    Returns:
        None if the file is missing or malformed. A memory that Snakemake did not measure (jobs shorter than its first
        sample) is 0.
    """
    try:
        names, values = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:2])
        measured = dict(zip(names, values, strict=True))
        memory = measured["max_rss"]
        return float(measured["s"]), 0.0 if memory in ("-", "NA") else float(memory)
    except (OSError, ValueError, KeyError):
        return None
