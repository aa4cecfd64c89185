"""Parameters of models that were trained elsewhere, from modules, state dicts and the files of common trainers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.store.tensors import load_tensors

State = dict[str, Tensor]
Given = nn.Module | Mapping[str, Any] | str | PathLike[str]
"""A module, a state dict, or the path of a file or folder with one."""

_FILES = ("adapter_model.safetensors", "model.safetensors", "adapter_model.bin", "pytorch_model.bin")
_INDEX = "model.safetensors.index.json"
_INSIDE = ("state_dict", "model_state_dict", "model")
"""Keys under which trainers put the state dict of the model next to those of optimisers and schedules."""
_PREFIXES = ("model.", "module.", "_orig_mod.", "net.", "base_model.")
"""Prefixes that Lightning, ``DataParallel``, ``torch.compile`` and common wrappers add to names."""


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
        return _fitted(given.state_dict(), like, f"the given {type(given).__name__}", partly=False)
    if isinstance(given, Mapping):
        return _fitted(_state_dict(given, "the given mapping"), like, "the given state dict", partly=False)
    path = Path(given)
    return _fitted(_read(path), like, str(path), partly=_file_in(path).name.startswith("adapter_"))


def _read(path: Path) -> State:
    if path.is_dir() and (path / _INDEX).is_file():
        parts = json.loads((path / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return {
            name: value
            for part in sorted(set(parts))
            for name, value in load_tensors(path / Path(part).name).items()
        }
    file = _file_in(path)
    if not file.is_file():
        raise UserError(f"{path}: there is no such file")
    if file.suffix == ".safetensors":
        return load_tensors(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many classes for files that are not its own
        raise UserError(
            f"{file}: cannot be read as tensors ({_first_sentence(error)}); save the state_dict() alone, best as safetensors"
        ) from error
    return _state_dict(content, str(file))


def _file_in(path: Path) -> Path:
    """Return the file with the tensors: ``path`` itself, or the one that a folder of a trainer has."""
    if not path.is_dir():
        return path
    found = [path / name for name in _FILES if (path / name).is_file()]
    if not found and not (path / _INDEX).is_file():
        raise UserError(f"{path}: the folder has none of {', '.join(_FILES)}; name the file itself")
    return found[0] if found else path / _INDEX


def _state_dict(content: Any, where: str) -> State:
    """Return the state dict of a mapping that is one, or that has one among other things."""
    if isinstance(content, Mapping):
        for key in _INSIDE:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise UserError(f"{where}: holds no state dict; save model.state_dict()")


def _fitted(found: Mapping[str, Tensor], like: nn.Module, where: str, *, partly: bool) -> State:
    """Return the tensors under the names of ``like``, after removing a prefix that a trainer added."""
    own = like.state_dict()
    names = _with_tied(_renamed(found, own, getattr(like, "peft_config", ())), own)
    missing = [] if partly else [name for name in own if name not in names]
    unknown = [name for name in names if name not in own]
    if missing or unknown:
        raise UserError(f"{where}: {_difference(missing, unknown, own)}")
    for name, value in names.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{where}: '{name}' has shape {tuple(value.shape)}, but {tuple(own[name].shape)} in the model; give the "
                "model of this architecture"
            )
    return {
        name: names.get(name, value).detach().cpu().clone().to(value.dtype) for name, value in own.items()
    }


def _renamed(
    found: Mapping[str, Tensor], own: Mapping[str, Tensor], adapters: Iterable[str]
) -> dict[str, Tensor]:
    """Return ``found`` under those of its possible names of which the model has most."""
    candidates = [dict(found)]
    for prefix in _PREFIXES:
        candidates.append({name.removeprefix(prefix): value for name, value in found.items()})
        candidates.append({f"{prefix}{name}": value for name, value in found.items()})
    for adapter in adapters:  # save_pretrained of peft leaves the name of the adapter out
        stored = {_without_adapter(name, adapter): name for name in own}
        candidates.append({stored.get(name, name): value for name, value in found.items()})
    return max(candidates, key=lambda names: sum(name in own for name in names))


def _with_tied(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``found`` with the tied tensors of the model, which are one tensor under several names and saved under one."""
    places = {(own[name].data_ptr(), own[name].shape): value for name, value in found.items() if name in own}
    tied = {name: (value.data_ptr(), value.shape) for name, value in own.items() if value.numel()}
    return {name: places[place] for name, place in tied.items() if place in places} | dict(found)


def _without_adapter(name: str, adapter: str) -> str:
    """Return the name under which peft stores a tensor of an adapter."""
    return (
        name.replace(f".modules_to_save.{adapter}.", ".")
        .replace(f".{adapter}.", ".")
        .removesuffix(f".{adapter}")
    )


def _difference(missing: list[str], unknown: list[str], own: Iterable[str]) -> str:
    """Return one line about names that do not match, with the nearest ones."""
    if missing:
        close = difflib.get_close_matches(missing[0], unknown, n=1, cutoff=0.5)
        near = f"; the nearest name there is '{close[0]}'" if close else ""
        return f"has no '{missing[0]}' ({len(missing)} of the model's tensors are missing){near}"
    close = difflib.get_close_matches(unknown[0], list(own), n=1, cutoff=0.5)
    near = f"; the nearest name of the model is '{close[0]}'" if close else ""
    return f"has '{unknown[0]}', which the model has not ({len(unknown)} such tensors){near}"


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0][:160] or type(error).__name__
