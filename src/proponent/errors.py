"""The exception for mistakes that a user can correct, and the line for other errors that are not bugs."""

from __future__ import annotations

import errno


class UserError(Exception):
    """A mistake that the user can correct; printed as one line, without a traceback.

    Examples:
        >>> import proponent
        >>> try:
        ...     proponent.methods(task="regressions")
        ... except proponent.UserError as error:
        ...     print(error)
        unknown task 'regressions'; did you mean 'regression'? (a task of your own reads 'package.module:Task')
    """


def line_for(error: Exception) -> str | None:
    """Return the line that tells a user about ``error``; None for a bug, whose traceback is needed.

    torch is not imported here, so its errors are recognised by the names of their classes.
    """
    if isinstance(error, UserError):
        return str(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    remedy = "lower compute.lockstep or compute.memory_mib in params.yaml"
    if "OutOfMemoryError" in names:
        return f"out of the GPU's memory; {remedy}"
    no_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or no_memory or "allocate memory" in str(error):
        return f"out of memory; {remedy}"
    if isinstance(error, OSError):
        return f"{error.filename or 'disk'}: {error.strerror or error}"
    return None


def one_line(error: Exception) -> str:
    """Return ``error`` as one line: what :func:`line_for` tells a user about it, or the type and message of a bug."""
    line = line_for(error)
    if line is None:
        line = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(line.split())
