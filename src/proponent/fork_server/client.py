"""Command that lets the server of its run fork, and then ends as the fork does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from proponent.fork_server.message import REFUSED, SOCKET, STATUS, Request


def run_in_fork() -> int | None:
    """Run the command of this process in a fork of the server, with the standard streams of this process.

    If a signal ends the fork, it ends this process too.

    Returns:
        The exit code of the fork; None if there is no server, or if it ended before the command did, so that this process
        has to run the command itself.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ[SOCKET])
            Request.of_this_process().send(connection)
            reply = _reply(connection)
        except OSError:
            return None
    if len(reply) < STATUS.size or reply == REFUSED:
        return None
    code = os.waitstatus_to_exitcode(*STATUS.unpack(reply))
    if code < 0:
        if -code != signal.SIGKILL:  # which nobody can catch
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _reply(connection: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection.

    Ctrl-C in a terminal reaches the fork too, which then ends in order; this process waits for it.
    """
    reply = b""
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            part = connection.recv(64)
            if not part:
                return reply
            reply += part
