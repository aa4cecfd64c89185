"""Entry point of the command ``proponent``."""

from __future__ import annotations

import os
import sys

from proponent.fork_server.message import SOCKET


def main() -> None:
    """Run the command line, in a fork of the run's server if this is a job of a run that has one."""
    if SOCKET in os.environ and sys.argv[1:2] != ["failed"]:
        from proponent.fork_server.client import run_in_fork

        code = run_in_fork()
        if code is not None:
            sys.exit(code)
    from proponent.cli import main as command_line

    command_line()
