"""What the rules ask at parse time: paths, keys and needs. Imports no torch."""

from proponent.workflow.controller import start
from proponent.workflow.plan import Plan

__all__ = ["Plan", "start"]
