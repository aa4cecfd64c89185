"""MLflow's own UI over the tracking database, reachable from this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from proponent.errors import UserError
from proponent.publish.shared_view import link
from proponent.publish.tracking import connected

HOST = "127.0.0.1"


_OPENER = """
import sys, time, urllib.request, webbrowser
for _ in range(120):
    time.sleep(0.5)
    try:
        urllib.request.urlopen(sys.argv[1] + "/health", timeout=1)
    except OSError:
        continue
    webbrowser.open(sys.argv[2])
    break
"""
"""Program that opens a page as soon as its server answers."""


def serve(uri: str, port: int) -> None:
    """Replace this process with MLflow's server on ``http://127.0.0.1:PORT`` for the database at ``uri``.

    Raises:
        UserError: ``uri`` is a server, which has a UI already; the port is in use; the database cannot be opened.
    """
    if uri.startswith(("http://", "https://")):
        raise UserError(f"MLFLOW_TRACKING_URI is a server, which has its own UI: open {uri}")
    server = f"http://{HOST}:{port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port}: {error.strerror}; choose another, as in 'make ui PORT=5001'"
            ) from error
    with connected(uri) as client:  # initialises the database while no publisher does the same
        found = client.search_experiments(filter_string="tags.proponent = 'setting'", order_by=["name ASC"])
        links = {experiment.name: link(server, experiment.experiment_id) for experiment in found}
    links = links or {"no runs yet": f"{server}/#/experiments?workflowType=machine_learning"}
    print(
        "open (Ctrl-C stops the server):",
        *(f"  {name}: {to}" for name, to in links.items()),
        sep="\n",
        file=sys.stderr,
        flush=True,
    )
    _open_later(server, next(iter(links.values())))
    options = {"--backend-store-uri": uri, "--host": HOST, "--port": str(port), "--workers": "1"}
    command = [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)]
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, command)  # noqa: S606


def _open_later(server: str, page: str) -> None:
    """Open a page when the server answers, if somebody sits at a terminal with a graphical browser."""
    if sys.stderr.isatty() and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")):
        subprocess.Popen([sys.executable, "-c", _OPENER, server, page])  # noqa: S603
