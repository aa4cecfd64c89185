"""Implied configuration: adds the ``tune`` design, and makes ``graddot-10`` from ``graddot`` for ten members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.errors import UserError


def with_tuning(designs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the designs of a setting; one that has ``subsets`` to evaluate on gets a separate ``tune``."""
    return {**designs, "tune": designs.get("tune")} if "subsets" in designs else designs


def tune_alike(designs: dict[str, Any]) -> None:
    """Let masks for tuning keep the same share as those for evaluation, unless the setting configures another."""
    evaluating, tuning = designs.get("subsets"), designs.get("tune")
    if isinstance(evaluating, Mapping) and isinstance(tuning, dict) and "fraction" in evaluating:
        tuning.setdefault("fraction", evaluating["fraction"])


def over_members(content: dict[str, Any], members: int, source: str) -> dict[str, Any]:
    """Return the configuration of a method that is averaged over ``members``; candidates are compared on the first two.

    Args:
        content: the method's YAML file.
        members: number of members.
        source: file that holds the content, the beginning of an error.

    Raises:
        UserError: the file sets the number of members itself.
    """
    if "members" in content:
        raise UserError(f"{source}: it has {content['members']} members already; write a file of that name")
    averaged = {**content, "members": members}
    if isinstance(content.get("tune"), Mapping):
        averaged["tune"] = {"members": min(members, 2), **content["tune"]}
    return averaged
