"""Real servers and programs for tests: PostgreSQL, MLflow, Chromium. Each stops with the test that started it."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests


def program(name: str, package: str) -> str:
    """Return the path of a program, or skip the test if it is missing and cannot be installed.

    The Debian package is installed only by root on a machine for tests, which sets ``CI=true``; no other machine is
    changed.
    """
    found = _find(name)
    if found is None and os.environ.get("CI") and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
        found = _find(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return found


def _find(name: str) -> str | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, versions)]))


@functools.cache
def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *package.split()]):
        done = subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True, timeout=600)
        if done.returncode:
            return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URI of a new PostgreSQL server, which listens on a Unix socket only."""
    initdb, server = program("initdb", "postgresql"), program("postgres", "postgresql")
    # PostgreSQL refuses to run as root, and other users cannot read the folders of pytest.
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if other:
            shutil.chown(folder, "nobody", "nogroup")
        data = f"{folder}/data"
        initialise = [
            initdb,
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(initialise, cwd=folder, check=True, capture_output=True, timeout=120, **other)
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
        command = [server, "-D", data, "-k", folder, *options]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, **other) as process:
            try:
                _wait(Path(folder, ".s.PGSQL.5432").exists, process)
                yield f"postgresql://postgres@/postgres?host={folder}"
            finally:
                process.send_signal(signal.SIGINT)  # fast shutdown
                process.wait(60)


@contextmanager
def serving(
    command: str | Sequence[str], port: int, cwd: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a command that serves HTTP on a port of 127.0.0.1; yield its URL as soon as it answers."""
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        try:
            return requests.get(f"{url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    with (
        Path(cwd, "server.log").open("w") as log,
        subprocess.Popen(
            command,
            shell=isinstance(command, str),
            cwd=cwd,
            env=None if environment is None else dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(healthy, process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # stops its workers too; nothing has to be saved
            process.wait(30)


def listening(port: int) -> set[str]:
    """Return the addresses on which a process listens at a port, in the hexadecimal form of the kernel."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def _wait(ready, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{process.args} does not answer"
        time.sleep(0.1)
