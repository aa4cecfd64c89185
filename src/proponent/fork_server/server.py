"""The server: ``python -m proponent.fork_server.server SOCKET CONTROLLER THREADS``, where two are file descriptors."""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import shutil
import signal
import socket
import sys
from pathlib import Path

from proponent.fork_server.message import REFUSED, STANDARD_STREAMS, STATUS, Request
from proponent.steps.io.process import ending_with_parent, importing, prepare_libraries

PRELOADED = ("torch", "numpy", "safetensors.torch")
"""Modules that most jobs import; none of this package, so that each fork reads its code as a new process does."""

PATIENCE_SECONDS = 5.0
"""Time for a command to send its request after it has connected. One that was stopped in between (SIGSTOP) would otherwise
keep all others waiting; it runs by itself when it is continued."""


class Server:
    """Forks this process for each request until the controller ends, and reports how the forks end.

    Args:
        listener: socket on which requests arrive.
        controller: file descriptor of a pipe whose other end the controller keeps open until it ends.
    """

    def __init__(self, listener: socket.socket, controller: int) -> None:
        self._listener, self._controller = listener, controller
        self._process, self._end_with_parent = os.getpid(), ending_with_parent(signal.SIGTERM)
        self._running: dict[int, socket.socket] = {}
        """Connection per fork, by process ID."""
        self._selector = selectors.DefaultSelector()
        self._ended, self._wake = os.pipe()
        os.set_blocking(self._ended, False)
        os.set_blocking(self._wake, False)

    def serve(self) -> Request | None:
        """Return the request in each fork; None in the server when the controller and all forks have ended."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the jobs
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for source in (self._listener, self._controller, self._ended):
            self._selector.register(source, selectors.EVENT_READ)
        serving = True
        while serving or self._running:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    request = self._accept()
                    if request is not None:
                        return request
                elif key.fileobj == self._controller:
                    serving = False
                    self._selector.unregister(self._controller)
                    self._selector.unregister(self._listener)
                    shutil.rmtree(Path(self._listener.getsockname()).parent, ignore_errors=True)
                    self._listener.close()
                elif key.fileobj == self._ended:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._ended, 512)
                elif key.data in self._running:  # the command was stopped, and its fork has to stop too
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGTERM)
            self._report()
        return None

    def _accept(self) -> Request | None:
        """Fork for a request; return it in the fork, and None in the server."""
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE_SECONDS)
        try:
            request, streams = Request.receive(connection)
        except (OSError, ValueError, TypeError):
            connection.close()
            return None
        connection.settimeout(None)
        child = os.fork() if request.fits(sys.executable, os.environ) else None
        if child == 0:
            self._become(connection, streams)
            return request
        for stream in streams:
            os.close(stream)
        if child is None:
            with contextlib.suppress(OSError):
                connection.sendall(REFUSED)
            connection.close()
            return None
        self._running[child] = connection
        self._selector.register(connection, selectors.EVENT_READ, child)
        return None

    def _become(self, connection: socket.socket, streams: list[int]) -> None:
        """Leave everything of the server behind, in a fork."""
        if self._end_with_parent is not None:
            self._end_with_parent()
        if os.getppid() != self._process:  # the server ended before the fork could ask for a signal
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for own in (self._listener, connection, *self._running.values()):
            own.close()
        for descriptor in (self._controller, self._ended, self._wake):
            os.close(descriptor)
        for number, stream in zip(STANDARD_STREAMS, streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)

    def _report(self) -> None:
        """Send the wait status of the forks that have ended."""
        while self._running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            connection = self._running.pop(child)
            with contextlib.suppress(KeyError):
                self._selector.unregister(connection)
            with contextlib.suppress(OSError):
                connection.sendall(STATUS.pack(status))
            connection.close()


def take_over(request: Request) -> None:
    """Make this fork what the process of the request was when it began."""
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.argv = request.argv
    sys.path[0] = str(Path(request.argv[0]).parent)
    importlib.invalidate_caches()


def main(arguments: list[str]) -> None:
    """Serve; in a fork, run the command of the request."""
    listener, controller, threads = map(int, arguments)
    prepare_libraries(threads)
    with importing():
        for name in PRELOADED:
            importlib.import_module(name)
    request = Server(socket.socket(fileno=listener), controller).serve()
    if request is None:
        return
    take_over(request)
    from proponent.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main(sys.argv[1:])
