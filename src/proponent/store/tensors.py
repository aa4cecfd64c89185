"""Tensors on disk: safetensors only, read lazily, never pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from proponent.errors import UserError
from proponent.store.files import replacing


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to ``path``, atomically.

    Equal tensors and metadata give equal bytes.

    Raises:
        UserError: the disk refuses; nothing is left behind.
    """
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, metadata=dict(metadata or {}))
            _sort_metadata(temporary)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a file in order, which the library writes in another order every time."""
    with path.open("rb+") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            stream.seek(8)
            stream.write(text.ljust(length))


@contextmanager
def open_tensors(path: Path) -> Iterator[tuple[Callable[[str], Tensor], list[str], dict[str, str]]]:
    """Open ``path`` and yield ``(get, names, metadata)``; ``get(name)`` reads one tensor.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            yield stream.get_tensor, list(stream.keys()), dict(stream.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path}: not a readable safetensors file ({error}); delete it and run snakemake again"
        ) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of ``path``."""
    with open_tensors(path) as (get, names, _):
        return {name: get(name) for name in names}
