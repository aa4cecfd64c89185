"""What a configuration says without writing it: masks to tune on beside those that evaluate, and averages over members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proponent.errors import UserError


def with_tuning(designs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the designs of a setting and, where there are ``subsets`` that evaluate, a ``tune`` that must not."""
    return {**designs, "tune": designs.get("tune")} if "subsets" in designs else designs


def tune_alike(designs: dict[str, Any]) -> None:
    """Let masks that tune keep as much as those that evaluate, unless a setting says otherwise."""
    evaluating, tuning = designs.get("subsets"), designs.get("tune")
    if isinstance(evaluating, Mapping) and isinstance(tuning, dict) and "fraction" in evaluating:
        tuning.setdefault("fraction", evaluating["fraction"])


def over_members(content: dict[str, Any], members: int, source: str) -> dict[str, Any]:
    """Return a method's file as that of its average over so many members; candidates are compared on the first two."""
    if "members" in content:
        raise UserError(f"{source}: it has {content['members']} members already; write a file of that name")
    averaged = {**content, "members": members}
    if isinstance(content.get("tune"), Mapping):
        averaged["tune"] = {"members": min(members, 2), **content["tune"]}
    return averaged
