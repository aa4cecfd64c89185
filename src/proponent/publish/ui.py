"""MLflow's own UI over the tracking database, reachable from this machine only."""

from __future__ import annotations

import os
import socket
import sys

from proponent.errors import UserError
from proponent.publish.tracking import connected

HOST = "127.0.0.1"


def serve(uri: str, port: int) -> None:
    """Replace this process with MLflow's server on ``http://127.0.0.1:PORT`` for the database at ``uri``.

    Raises:
        UserError: ``uri`` is a server, which has a UI already; the port is in use; the database cannot be opened.
    """
    if uri.startswith(("http://", "https://")):
        raise UserError(f"MLFLOW_TRACKING_URI is a server, which has its own UI: open {uri}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port}: {error.strerror}; choose another, as in 'make ui PORT=5001'"
            ) from error
    with connected(uri):
        pass  # initialises the database while no publisher does the same
    print(
        f"open http://{HOST}:{port}/#/experiments?workflowType=machine_learning (Ctrl-C stops the server)",
        file=sys.stderr,
        flush=True,
    )
    options = {"--backend-store-uri": uri, "--host": HOST, "--port": str(port), "--workers": "1"}
    command = [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)]
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, command)  # noqa: S606
