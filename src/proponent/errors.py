"""The one exception that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; its message is one line that names the file, the key and what to do.

    The command line and the Snakefile print it as ``error: <message>`` and exit with 1, without a traceback.
    """
