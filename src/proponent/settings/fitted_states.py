"""Tensors of a trained model under the names that the model has here, after what common trainers add to them is removed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from proponent.errors import UserError

_PREFIXES = ("model.", "module.", "_orig_mod.", "net.", "base_model.")
"""Prefixes that Lightning, ``DataParallel``, ``torch.compile`` and common wrappers add to names."""


def fitted_state(
    found: Mapping[str, Tensor], like: nn.Module, where: str, *, partly: bool
) -> dict[str, Tensor]:
    """Return tensors under the names of a model and in its types, on the CPU.

    Args:
        found: tensors by the name that they have, perhaps with a prefix that a trainer added.
        like: module of the same architecture.
        where: name of the source of the tensors, the beginning of every error.
        partly: whether tensors may be missing, which are then those of ``like``; tied tensors may be missing always.

    Raises:
        UserError: names or shapes are not those of ``like``; the message has the nearest name.
    """
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
