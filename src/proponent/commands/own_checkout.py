"""The checkout that a command works in, and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proponent.checkout_location import check_location
from proponent.errors import UserError

if TYPE_CHECKING:
    from proponent.plan.run_plan import Plan


def checkout() -> Path:
    """Return the current directory.

    Raises:
        UserError: it is not a checkout.
    """
    root = Path.cwd()
    if not (root / "params.yaml").exists():
        raise UserError(f"no params.yaml in {root}: run this from the root of a proponent checkout")
    check_location(root)
    return root


def planned(overrides: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan for the checkout, as ``params.yaml`` and ``overrides`` ask for it."""
    from proponent.config.benchmark import load_benchmark
    from proponent.plan.run_plan import Plan

    return Plan(load_benchmark(checkout(), overrides or {}))
