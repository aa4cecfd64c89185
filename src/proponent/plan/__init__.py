"""What the rules ask at parse time: paths, keys and needs. Imports no torch."""

from proponent.plan.controller import start
from proponent.plan.run_plan import Plan

__all__ = ["Plan", "start"]
