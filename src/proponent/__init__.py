"""A declarative, reproducible benchmark of training data attribution (TDA), and its methods for models of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proponent.attributor import Attributor as Attributor

__version__ = "0.1.0"
__all__ = ["Attributor"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import proponent`` needs no torch."""
    if name == "Attributor":
        from proponent.attributor import Attributor

        return Attributor
    raise AttributeError(f"module 'proponent' has no attribute '{name}'")
