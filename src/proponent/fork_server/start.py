"""Start of the server by the controller of a run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from proponent.config.benchmark_schema import ComputeConfig
from proponent.fork_server.message import SOCKET
from proponent.plan.local_jobs import runs_here

SERVER = (sys.executable, "-m", "proponent.fork_server.server")
FEWEST_JOBS = 3
"""Jobs from which on a server pays."""
_kept: list[object] = []
"""The server and its pipe, which stays open until this process ends."""


def fork_local_jobs(workflow: Any, compute: ComputeConfig) -> None:
    """Start the server if the jobs of a run are on this machine, and if they are enough for it to pay.

    Jobs on a GPU start as processes of their own, since a process that has used CUDA cannot be forked.

    Args:
        workflow: Snakemake's workflow, after its jobs are planned.
        compute: ``compute`` of the configuration.
    """
    jobs = sum(1 for _ in workflow.dag.needrun_jobs())
    if jobs >= FEWEST_JOBS and compute.device == "cpu" and runs_here(workflow.resource_settings.nodes):
        start_fork_server(compute.threads)


def start_fork_server(threads: int) -> None:
    """Start the server and let the jobs of this process find it; only Linux has all calls that it needs.

    Requests wait until the server has imported its modules. It ends after this process.

    Args:
        threads: ``compute.threads``.
    """
    if sys.platform != "linux":
        return
    folder = tempfile.mkdtemp(prefix="proponent-")  # only this user may open it
    path = str(Path(folder) / "socket")
    receiving, sending = os.pipe()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(64)
            server = subprocess.Popen(  # noqa: S603 - this interpreter
                [*SERVER, str(listener.fileno()), str(receiving), str(threads)],
                pass_fds=(listener.fileno(), receiving),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(
                    os.environ
                ),  # as for jobs: without what libraries have set behind the back of Python
            )
    except (
        OSError
    ):  # such as a path of the temporary folder that is too long for a socket: jobs start by themselves
        shutil.rmtree(folder, ignore_errors=True)
        os.close(sending)
        return
    finally:
        os.close(receiving)
    _kept.extend((server, sending))
    os.environ[SOCKET] = path
