"""Messages between the server and the commands that ask it for a fork."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

SOCKET = "PROPONENT_FORK_SERVER"
"""Environment variable with the path of the server's socket."""
REFUSED = b"refused"
"""Reply of the server to a command that it cannot run as the command itself would."""
STATUS = struct.Struct("!i")
"""Reply of the server when the fork has ended: its wait status, see :func:`os.waitpid`."""
STANDARD_STREAMS = (0, 1, 2)
_LENGTH = struct.Struct("!I")
_MAY_DIFFER = {
    *(SOCKET, "_", "PWD", "OLDPWD", "SHLVL", "TMPDIR", "TMP", "TEMPDIR", "TEMP"),
    # Jobs and the server fix these themselves (steps/io/process.py).
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("GOTO_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "MKL_DYNAMIC", "OMP_DYNAMIC", "THP_MEM_ALLOC_ENABLE"),
}
"""Environment variables that neither Python nor a library reads before a job begins."""


@dataclass(frozen=True)
class Request:
    """A command as it was started."""

    executable: str
    argv: list[str]
    folder: str
    environment: dict[str, str]

    @classmethod
    def of_this_process(cls) -> Request:
        """Return what this process was asked to run."""
        return cls(sys.executable, sys.argv, str(Path.cwd()), dict(os.environ))

    def fits(self, executable: str, environment: Mapping[str, str]) -> bool:
        """Return whether a fork of a process with this interpreter and environment is as good as a new process."""
        return executable == self.executable and _read_at_start(environment) == _read_at_start(
            self.environment
        )

    def send(self, connection: socket.socket) -> None:
        """Send the request and the standard streams of this process."""
        content = json.dumps(asdict(self)).encode()
        socket.send_fds(connection, [_LENGTH.pack(len(content))], STANDARD_STREAMS)
        connection.sendall(content)

    @classmethod
    def receive(cls, connection: socket.socket) -> tuple[Request, list[int]]:
        """Return a request and the standard streams of the process that sent it, as file descriptors.

        Raises:
            ConnectionError: the other side closed the connection or sent something else.
            TimeoutError: it sent nothing, or only a part, within the time that the connection allows.
            ValueError: it sent something else than JSON.
            TypeError: it sent something else than a request.
        """
        length, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, len(STANDARD_STREAMS))
        try:
            if len(length) < _LENGTH.size or len(streams) < len(STANDARD_STREAMS):
                raise ConnectionError("not a request")
            return cls(**json.loads(_received(connection, *_LENGTH.unpack(length)))), streams
        except (OSError, ValueError, TypeError):
            for stream in streams:
                os.close(stream)
            raise


def _received(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError("the request is cut")
        parts += part
    return parts


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _MAY_DIFFER}
