"""The plan of a run: its artefacts, their keys and inputs, and the start that settles them. Imports no torch."""

from proponent.plan.controller import start
from proponent.plan.run_plan import Plan

__all__ = ["Plan", "start"]
