"""Tensors on disk as safetensors, read lazily; never pickle, which can execute code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from proponent.store.arrays import opened, sort_metadata
from proponent.store.files import replacing


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to ``path``, atomically. Equal tensors and metadata give equal bytes.

    Raises:
        UserError: the file cannot be written; no partial file remains.
    """
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, metadata=dict(metadata or {}))
            sort_metadata(temporary)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


@contextmanager
def open_tensors(path: Path) -> Iterator[tuple[Callable[[str], Tensor], list[str], dict[str, str]]]:
    """Open ``path`` and yield ``(get, names, metadata)``; ``get(name)`` reads one tensor.

    Raises:
        UserError: the file is missing, truncated or not safetensors.
    """
    with opened(path, "pt") as (get, names, metadata):
        yield get, names, metadata


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of ``path`` as private maps of the file: what is not used is not read.

    A change of a tensor is private to the process, and never reaches the file.
    """
    with open_tensors(path) as (get, names, _):
        return {name: get(name) for name in names}
