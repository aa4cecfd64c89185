"""Records of published datasets: JSON, JSON lines, Parquet and tables with tabs, as lists of dictionaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proponent.errors import UserError
from proponent.extras import how_to_install

Record = dict[str, Any]


def read_records(path: str, needed: Sequence[str] = ()) -> list[Record]:
    """Return the records of a file, or of all files of a folder in the order of their names.

    Args:
        path: a ``.jsonl``, ``.json``, ``.parquet`` or ``.tsv`` file, or a folder of such files.
        needed: names that every record must have.

    Raises:
        UserError: there is no such file, it cannot be read, or a record lacks a name.
    """
    files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
    found = [record for file in files if file.suffix in _READERS for record in _read(file)]
    if not found:
        kinds = ", ".join(_READERS)
        raise UserError(f"{path}: has no records; place a {kinds} file there, or a folder of them")
    for place, record in enumerate(found):
        for name in needed:
            if name not in record:
                raise UserError(f"{path}: record {place} has no '{name}'; its names are {', '.join(record)}")
    return found


def _read(file: Path) -> list[Record]:
    try:
        return _READERS[file.suffix](file)
    except FileNotFoundError as error:
        raise UserError(f"{file}: does not exist; place the file there") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())[:200]})") from error


def _lines(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _json(file: Path) -> list[Record]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        raise ValueError("its content is not a list of records")
    return found


def _parquet(file: Path) -> list[Record]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{file}: needs pyarrow; {how_to_install('datasets')}") from error
    rows: list[Record] = parquet.read_table(file).to_pylist()
    return rows


def _tabs(file: Path) -> list[Record]:
    names, *lines = file.read_text(encoding="utf-8").splitlines()
    # Quotation marks have no meaning in the files of GLUE, so that Python's reader of tables is not used.
    return [dict(zip(names.split("\t"), line.split("\t"), strict=True)) for line in lines]


_READERS = {".jsonl": _lines, ".json": _json, ".parquet": _parquet, ".tsv": _tabs}
