"""Scores of hyper-parameter candidates, averaged over the members of an ensemble and over checkpoints."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from proponent.attribution.member_mean import MemberMean
from proponent.config.digests.keys import canonical
from proponent.errors import UserError
from proponent.methods.shared.workspace import Workspace

Candidate = dict[str, Any]
"""Hyper-parameters by name."""
Needs = Mapping[str, Any]
"""The positional arguments of a method by name, for one member."""
Outcome = dict[str, Any] | UserError
"""The results of a candidate by name, among them ``scores``; or the reason why the method refused the candidate."""


def average(
    function: Callable[..., Any],
    candidates: Sequence[Candidate],
    members: Iterable[Needs],
    *,
    checkpoints: Sequence[float] = (),
    normalised: bool = False,
    source: str = "",
) -> list[MemberMean | UserError]:
    """Call ``function`` with every candidate on every member, and average the results of each candidate.

    Members are the outer loop and dampings the inner one, so that the features of a member are read once and one
    decomposition serves a whole damping grid. A candidate that is refused once is not tried on later members.

    Args:
        function: ``attribute`` or ``self_influence`` of a method.
        candidates: hyper-parameters to try; neighbours that differ only in ``damping`` form one damping grid.
        members: the arguments of one member at a time; a :class:`Workspace` is added where ``function`` lists one, and
            the arguments have none of their own.
        checkpoints: values of the hyper-parameter ``checkpoint``, each of which counts as a member of its own; empty if
            the candidates decide.
        normalised: give each member the same weight (see :class:`MemberMean`).
        source: the file that configures the method, the beginning of every error.

    Returns:
        For each candidate the mean, or the reason why the method refused it.
    """
    outcomes: list[MemberMean | UserError] = [MemberMean(normalised=normalised) for _ in candidates]
    numbers = range(len(candidates))
    grids = [list(grid) for _, grid in itertools.groupby(numbers, lambda at: without_damping(candidates[at]))]
    overrides: list[Candidate] = [{"checkpoint": checkpoint} for checkpoint in checkpoints] or [{}]
    wants_workspace = "workspace" in inspect.signature(function).parameters
    for needs in members:
        workspace = needs.get("workspace") or Workspace()
        arguments = {name: value for name, value in needs.items() if name != "workspace"}
        if wants_workspace:
            arguments["workspace"] = workspace
        for grid, override in itertools.product(grids, overrides):
            workspace.announce([candidates[at]["damping"] for at in grid if "damping" in candidates[at]])
            for at in grid:
                outcomes[at] = _add(outcomes[at], function, arguments, {**candidates[at], **override}, source)
        workspace.announce(())
    return outcomes


def _add(
    outcome: MemberMean | UserError,
    function: Callable[..., Any],
    arguments: Needs,
    candidate: Candidate,
    source: str,
) -> MemberMean | UserError:
    if isinstance(outcome, UserError):
        return outcome
    try:
        outcome.add(function(**arguments, **candidate))
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        refusal = UserError(f"{source} with {candidate}: {reason}")
        refusal.__cause__ = error
        return refusal
    return outcome


def _reason(error: Exception) -> str | None:
    """Return why a method refused a candidate, or failed for numerical reasons; None for a bug.

    torch is not imported here, so its errors are recognised by the names of their classes.
    """
    if any(kind.__name__.endswith("LinAlgError") for kind in type(error).__mro__):
        return (
            "a matrix could not be decomposed, because its entries overflow or are not finite: use an earlier checkpoint, "
            f"or inputs of smaller scale ({error})"
        )
    return str(error) if isinstance(error, (UserError, ValueError)) else None


def without_damping(candidate: Candidate) -> str:
    """Return a text that is equal for candidates that differ only in ``damping``."""
    return canonical({name: value for name, value in candidate.items() if name != "damping"})
