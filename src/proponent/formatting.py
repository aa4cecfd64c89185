"""Times and sizes as people read them; the only place that decides these formats.

Written here because ``humanfriendly`` and ``humanize`` give long forms ("5 minutes and 20 seconds"), which do not fit
the columns of a table.
"""

from __future__ import annotations

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def duration(seconds: float) -> str:
    """Return a time with about two significant digits: ``0.31 s``, ``12 s``, ``3 min 20 s``, ``5.2 h``, ``12 days``."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    for unit, name in ((_DAY, "days"), (_HOUR, "h")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.{0 if seconds >= 10 * unit else 1}f} {name}"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{seconds / _MINUTE:.0f} min"


def size(count: float) -> str:
    """Return a number of bytes in binary units: ``512 B``, ``3.2 MiB``, ``47 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"
