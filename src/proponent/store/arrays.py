"""Arrays on disk as safetensors, for steps that need NumPy alone: importing torch costs seconds per job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from proponent.errors import UserError
from proponent.store.files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def save_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to ``path``, atomically; the bytes are those of :func:`proponent.store.tensors.save_tensors`.

    Raises:
        OSError: the disk refuses; nothing is left behind.
    """
    whole = {name: array if array.flags.c_contiguous else array.copy() for name, array in arrays.items()}
    with replacing(path) as temporary:
        try:
            safetensors.numpy.save_file(whole, temporary, metadata=dict(metadata or {}))
            sort_metadata(temporary)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def sort_metadata(path: Path) -> None:
    """Sort the metadata of a file: the library writes it in another order every time, so that bytes would differ."""
    with path.open("rb+") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            stream.seek(8)
            stream.write(text.ljust(length))


@contextmanager
def open_arrays(path: Path) -> Iterator[tuple[Callable[[str], Array], list[str], dict[str, str]]]:
    """Open ``path`` and yield ``(get, names, metadata)``; ``get(name)`` reads one array.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    with opened(path, "np") as (get, names, metadata):
        yield get, names, metadata


@contextmanager
def opened(path: Path, framework: str) -> Iterator[tuple[Callable[[str], Any], list[str], dict[str, str]]]:
    """Open ``path`` for the ``framework`` that its tensors are read into: ``np`` or ``pt``.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    try:
        with safetensors.safe_open(path, framework=framework) as stream:
            yield stream.get_tensor, list(stream.keys()), dict(stream.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path}: not a readable safetensors file ({error}); delete it and run snakemake again"
        ) from error


_TYPES = {"BOOL": np.dtype(bool)} | {
    f"{letter.upper()}{8 * size}": np.dtype(f"{letter}{size}")
    for letter, sizes in (("i", (1, 2, 4, 8)), ("u", (1, 2, 4, 8)), ("f", (2, 4, 8)))
    for size in sizes
}
"""Types of NumPy by their names in safetensors."""


def map_arrays(path: Path) -> dict[str, Array]:
    """Return all arrays of ``path`` as private maps of the file: rows are read when they are used.

    A change of an array is private to the process, and never reaches the file. (Tensors that
    :func:`proponent.store.tensors.load_tensors` returns are such maps already.)

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    with (
        opened(path, "np"),
        path.open("rb") as stream,
    ):  # the library compares the header with the size of the file
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    found: dict[str, Array] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
        start, stop = entry["data_offsets"]
        # memmap refuses empty arrays
        mapped = (
            np.memmap(path, kind, "c", 8 + length + start, shape) if start < stop else np.empty(shape, kind)
        )
        found[name] = np.asarray(mapped)
    return found


def load_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of ``path``."""
    with open_arrays(path) as (get, names, _):
        return {name: get(name) for name in names}
