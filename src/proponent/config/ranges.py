"""Range checks of configured values; the messages name the key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

EVERYWHERE = {
    "checkpoint": "(0, 1]",
    "until": "(0, 1]",
    "damping": "[0, inf)",
    "samples": "[0, inf)",
    "resamples": "[1, inf)",
}
"""Ranges of hyper-parameters that mean the same in every method and metric that has them."""
_INTERVAL = re.compile(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+?)\s*([\])])")


def check_ranges(ranges: Mapping[str, str], values: Mapping[str, Any], where: str) -> None:
    """Raise a ValueError for the first value outside its range.

    Args:
        ranges: interval by name, such as ``(0, 1]`` or ``[1, inf)``; a bound may be the name of another value.
        values: values by name; only numbers are checked.
        where: beginning of messages, directly before the name.
    """
    for name, text in ranges.items():
        entries = values.get(name)
        for value in entries if isinstance(entries, list) else [entries]:
            if (
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and not _lies_in(value, text, values)
            ):
                raise ValueError(f"{where}{name} must be in {text}, not {value}")


def _lies_in(value: float, text: str, values: Mapping[str, Any]) -> bool:
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not an interval such as (0, 1] or [1, inf)")
    opening, low, high, closing = found.groups()
    lowest, highest = _bound(low, values), _bound(high, values)
    above = value > lowest if opening == "(" else value >= lowest
    return above and (value < highest if closing == ")" else value <= highest)


def _bound(text: str, values: Mapping[str, Any]) -> float:
    if text in values:
        return float(values[text])
    try:
        return math.inf if text == "inf" else float(text)
    except ValueError:
        raise ValueError(f"'{text}' is neither a number nor the name of another value") from None


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
