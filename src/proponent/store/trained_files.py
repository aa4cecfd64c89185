"""Files in which common trainers leave the tensors of a model: found by their names, without reading any tensor."""

from __future__ import annotations

import json
from pathlib import Path

from proponent.errors import UserError

_NAMES = ("adapter_model.safetensors", "model.safetensors", "adapter_model.bin", "pytorch_model.bin")
_INDEX = "model.safetensors.index.json"


def tensor_files(path: Path) -> list[Path]:
    """Return the files with the tensors of a trained model.

    Args:
        path: a file, or a folder as the ``Trainer`` of transformers and ``save_pretrained`` write it, with a single file of
            tensors or with several and their index.

    Raises:
        UserError: there is no such file, or the folder has none of the usual names.
    """
    if path.is_dir():
        if (path / _INDEX).is_file():
            return _indexed_files(path / _INDEX)
        found = [path / name for name in _NAMES if (path / name).is_file()]
        if not found:
            raise UserError(f"{path}: the folder has none of {', '.join(_NAMES)}; name the file itself")
        return found[:1]
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return [path]


def _indexed_files(index: Path) -> list[Path]:
    """Return the files of a model whose tensors are divided among several, from their index."""
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [index.with_name(Path(part).name) for part in sorted(set(parts))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: is not an index of safetensors files; save the model again") from error


def holds_adapters(path: Path) -> bool:
    """Return whether a file or folder holds adapters (peft) alone, without the model that they belong to."""
    return tensor_files(path)[0].name.startswith("adapter_")
