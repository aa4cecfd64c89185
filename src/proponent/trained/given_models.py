"""Parameters of models that were trained elsewhere, from modules, state dicts and the files of common trainers."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from proponent.errors import UserError
from proponent.settings.fitted_states import fitted_state
from proponent.store.trained_files import holds_adapters
from proponent.store.trained_states import read_state, state_dict_in

State = dict[str, Tensor]
Given = nn.Module | Mapping[str, Any] | str | PathLike[str]
"""A module, a state dict, or the path of a file or folder with one."""


def state_of(given: Given, like: nn.Module) -> State:
    """Return the tensors of a trained model under the names that ``like`` has, on the CPU.

    Args:
        given: module, state dict, or the path of a file (safetensors; ``torch.save``, read with ``weights_only=True``; a
            Lightning checkpoint) or of a folder as the ``Trainer`` of transformers and ``save_pretrained`` write it.
        like: module of the same architecture. Tensors of adapters alone are completed by those of ``like``.

    Raises:
        UserError: there is no such file, it holds no state dict, or names or shapes are not those of ``like``.
    """
    if isinstance(given, nn.Module):
        return fitted_state(given.state_dict(), like, f"the given {type(given).__name__}", partly=False)
    if isinstance(given, Mapping):
        return fitted_state(
            state_dict_in(given, "the given mapping"), like, "the given state dict", partly=False
        )
    if not isinstance(given, (str, PathLike)):
        raise UserError(
            f"a trained model must be a module, a state dict or the path of one, not a {type(given).__name__}"
        )
    path = Path(given)
    return fitted_state(read_state(path), like, str(path), partly=holds_adapters(path))
