"""State dicts in the files of common trainers; nothing in them is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.store.tensors import load_tensors
from proponent.store.trained_files import tensor_files

_INSIDE = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers put the state dict of the model next to those of optimisers and schedules."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a trained model under the names that the file has.

    Args:
        path: file (safetensors; ``torch.save``, read with ``weights_only=True``; a Lightning checkpoint), or folder as the
            ``Trainer`` of transformers and ``save_pretrained`` write it.

    Raises:
        UserError: there is no such file, or it holds no state dict.
    """
    state: dict[str, Tensor] = {}
    for file in tensor_files(path):
        state |= load_tensors(file) if file.suffix == ".safetensors" else _saved_by_torch(file)
    return state


def _saved_by_torch(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many classes for files that are not its own
        raise UserError(
            f"{file}: cannot be read as tensors ({_first_sentence(error)}); save the state_dict() alone, best as safetensors"
        ) from error
    return state_dict_in(content, str(file))


def state_dict_in(content: Any, where: str) -> dict[str, Tensor]:
    """Return the state dict of a mapping that is one, or that has one among other things.

    Args:
        content: content of a file, or an argument of the user's.
        where: name of the content, the beginning of the error.

    Raises:
        UserError: there is no tensor.
    """
    if isinstance(content, Mapping):
        for key in _INSIDE:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise UserError(f"{where}: holds no state dict; save model.state_dict()")


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0][:160] or type(error).__name__
