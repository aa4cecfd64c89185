"""Range checks of configured values; the messages name the key."""

from __future__ import annotations


def check_positive(where: str, **values: float | None) -> None:
    """Raise a ValueError for the first value that is not above 0; None is allowed."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{where}: {name} must be above 0, not {value}")


def check_not_negative(where: str, **values: float) -> None:
    """Raise a ValueError for the first value below 0."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{where}: {name} must not be negative, not {value}")


def check_within(where: str, low: float, high: float, **values: float) -> None:
    """Raise a ValueError for the first value outside [low, high)."""
    for name, value in values.items():
        if not low <= value < high:
            raise ValueError(f"{where}: {name} must be in [{low}, {high}), not {value}")
