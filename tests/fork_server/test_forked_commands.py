"""Commands that run in forks of a server: they end, print and stop as commands that run by themselves."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proponent.fork_server import start
from proponent.fork_server.message import SOCKET, STANDARD_STREAMS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the calls of the server")

SERVER = """
import socket, sys
from proponent.fork_server import server
from proponent.fork_server.server import take_over
server.PATIENCE_SECONDS = 2.0
request = server.Server(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).serve()
if request is not None:
    take_over(request)
    exec(sys.argv[1])
"""
"""A server whose forks run the Python code of the request, without torch and without the command line."""
CLIENT = """
import sys
from proponent.fork_server.client import run_in_fork
code = run_in_fork()
sys.exit(99 if code is None else code)
"""
ITSELF = 99
"""Exit code of a command that has to run by itself."""
SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@dataclass
class Running:
    """A server, and the end of its pipe that a controller holds."""

    process: subprocess.Popen[bytes]
    pipe: int
    environment: dict[str, str]
    """Environment variables of the controller."""

    def command(self, code: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command of the run."""
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, code],
            env={**self.environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        started = self.command(code, **variables)
        out, err = started.communicate(text, timeout=60)
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)

    def end_controller(self) -> None:
        """Close the pipe, as the end of the controller does."""
        os.close(self.pipe)
        self.pipe = -1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv(SOCKET, "set by the start of the server")
    monkeypatch.setattr(start, "SERVER", (sys.executable, "-c", SERVER))
    monkeypatch.setattr(start, "_kept", [])
    start.start_fork_server(threads=1)
    running = Running(*start._kept, dict(os.environ))
    yield running
    if running.pipe >= 0:
        running.end_controller()
    running.process.wait(timeout=30)
    shutil.rmtree(Path(os.environ[SOCKET]).parent, ignore_errors=True)  # where a test killed the server


def wait_until(holds: Callable[[], bool]) -> None:
    patience = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Return whether a process runs; one that has ended may wait for its parent to notice."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_fork_has_the_standard_streams_and_the_exit_code_of_the_command(server):
    done = server.run("print(input()); import sys; print('no', file=sys.stderr); sys.exit(3)", text="yes")
    assert (done.stdout, done.stderr, done.returncode) == ("yes\n", "no\n", 3)


def test_a_fork_is_a_child_of_the_server(server):
    done = server.run("import os; print(os.getppid())")
    assert int(done.stdout) == server.process.pid


def test_a_fork_has_the_folder_and_the_environment_of_the_command(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import os; print(os.getcwd(), os.environ['TMPDIR'], os.environ['OMP_NUM_THREADS'])"
    done = server.run(code, TMPDIR=str(tmp_path), OMP_NUM_THREADS="7")
    assert done.stdout.split() == [str(tmp_path), str(tmp_path), "7"]


def test_an_error_in_a_fork_is_printed_as_that_of_any_process(server):
    done = server.run("1 / 0")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM", "SIGABRT"])
def test_a_signal_that_ends_the_fork_ends_the_command(server, name):
    number = signal.Signals[name]
    assert server.run(f"import os; os.kill(os.getpid(), {number.value})").returncode == -number


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_fork_ends_with_its_command(server, name):
    started = server.command(SLEEP)
    fork = int(started.stdout.readline())
    started.send_signal(signal.Signals[name])
    assert started.wait(timeout=30) == -signal.Signals[name]
    wait_until(lambda: not is_alive(fork))
    assert server.run("print('next')").stdout == "next\n"


def test_ctrl_c_lets_the_fork_end_in_order(server):
    """A terminal sends the signal to all processes; only the fork acts on it."""
    code = f"try:\n {SLEEP}\nexcept KeyboardInterrupt: raise SystemExit(130)"
    started = server.command(code)
    fork = int(started.stdout.readline())
    for process in (server.process.pid, started.pid, fork):
        os.kill(process, signal.SIGINT)
    assert started.wait(timeout=30) == 130


def test_a_command_runs_by_itself_after_the_end_of_the_server(server):
    started = server.command(SLEEP)
    fork = int(started.stdout.readline())
    server.process.kill()
    assert started.wait(timeout=30) == ITSELF
    wait_until(lambda: not is_alive(fork))
    assert server.run("print('not in a fork')").returncode == ITSELF


def test_the_server_ends_with_its_controller_and_leaves_no_folder(server):
    folder = Path(os.environ[SOCKET]).parent
    assert folder.stat().st_mode & 0o077 == 0
    assert server.run("").returncode == 0
    server.end_controller()
    assert server.process.wait(timeout=30) == 0
    assert not folder.exists()


def test_forks_end_their_work_after_the_end_of_the_controller(server):
    started = server.command("print('begun', flush=True); print(input(), flush=True)")
    assert started.stdout.readline() == "begun\n"
    server.end_controller()
    wait_until(lambda: not Path(os.environ[SOCKET]).exists())
    assert started.communicate("ended", timeout=30)[0] == "ended\n"
    assert started.returncode == 0
    assert server.process.wait(timeout=30) == 0


@pytest.mark.parametrize("variable", ["PYTHONPATH", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "ANY_OTHER"])
def test_a_command_in_another_environment_runs_by_itself(server, variable):
    own = f"{os.environ.get(variable, '')}{os.pathsep if variable.endswith('PATH') else '7'}"
    assert server.run("print('not in a fork')", **{variable: own}).returncode == ITSELF
    assert server.run("").returncode == 0


def test_a_command_that_finds_no_server_runs_by_itself(server, tmp_path):
    assert server.run("print('not in a fork')", **{SOCKET: str(tmp_path / "none")}).returncode == ITSELF


def test_a_temporary_folder_with_too_long_a_path_leaves_a_run_without_server(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.delenv(SOCKET, raising=False)
    start.start_fork_server(threads=1)
    assert SOCKET not in os.environ
    assert not list(long.iterdir())


def test_commands_at_the_same_time_each_get_their_own_end(server):
    started = [server.command(f"import sys; sys.exit({code})") for code in range(12)]
    assert [one.wait(timeout=60) for one in started] == list(range(12))


@pytest.mark.parametrize("sent", [b"", b"abcd", b"\0\0\0\2{}"])
def test_bytes_other_than_a_request_change_nothing(server, sent):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SOCKET])
        connection.sendall(sent)
    assert server.run("").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"\0\0\0\2"], ids=["nothing", "a part of its request"])
def test_a_command_that_is_stopped_after_it_has_connected_does_not_keep_others_waiting(server, sent):
    assert server.run("").returncode == 0
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    opened = sum(1 for _ in descriptors.iterdir())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SOCKET])
        if sent:
            socket.send_fds(connection, [sent], STANDARD_STREAMS)
        assert server.run("print('next')").stdout == "next\n"
        connection.settimeout(10)
        assert connection.recv(64) == b"", "it runs by itself when it goes on"
    assert sum(1 for _ in descriptors.iterdir()) == opened
