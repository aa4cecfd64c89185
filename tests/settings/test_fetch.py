"""Files from a URL or a package: verified, atomic, downloaded once, and an offline message that says what to place where."""

from __future__ import annotations

import hashlib
import http.server
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proponent.errors import UserError
from proponent.settings import fetch

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the content, whole, slowly or in part, and counts the requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/data.npz")
            self.end_headers()
            return
        if self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/half":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        elif self.path == "/slow":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            time.sleep(30)
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PROPONENT_CACHE", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    socket = running.socket
    socket.close()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once_and_verified(server, cache):
    path = fetch(f"{server}/data.npz", DIGEST)
    assert path == cache / f"{DIGEST}.npz"
    assert path.read_bytes() == CONTENT
    assert fetch(f"{server}/data.npz", DIGEST.upper()) == path
    assert Handler.asked == ["/data.npz"]
    path.write_bytes(b"damaged")
    assert fetch(f"{server}/data.npz", DIGEST).read_bytes() == CONTENT
    assert fetch(f"{server}/elsewhere", DIGEST).read_bytes() == CONTENT, "redirections are followed"


def test_a_file_that_was_placed_in_the_cache_is_used_without_a_network(cache):
    cache.mkdir()
    (cache / f"{DIGEST}.npz").write_bytes(CONTENT)
    assert fetch("https://nowhere.invalid/a/b/data.npz", DIGEST).read_bytes() == CONTENT


def test_without_a_network_the_message_says_what_to_place_where(cache):
    with pytest.raises(UserError) as error:
        fetch("http://127.0.0.1:9/data.csv.gz", DIGEST)
    assert f"place the file with the sha256 {DIGEST} at {cache / DIGEST}.csv.gz" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cache_that_cannot_be_a_folder_is_one_line(cache):
    cache.write_bytes(b"a file")
    with pytest.raises(UserError, match=r"Not a directory.*; without a network, place the file") as error:
        fetch("http://127.0.0.1:9/data.csv.gz", DIGEST)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path, message",
    [
        ("/missing", "Not Found"),
        ("/half", f"the connection ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"),
        ("/to-a-file", "Redirection to url 'file:///etc/hostname' is not allowed"),
    ],
)
def test_what_cannot_be_downloaded_leaves_nothing(server, cache, path, message):
    with pytest.raises(UserError, match=message):
        fetch(server + path, DIGEST)
    assert visible(cache) == []


def test_another_content_is_refused_and_not_kept(server, cache):
    with pytest.raises(
        UserError, match=f"the file has the sha256 {DIGEST}, not {'0' * 64}; check the source"
    ):
        fetch(f"{server}/data.npz", "0" * 64)
    assert visible(cache) == []


def test_a_download_that_is_killed_half_way_starts_again(server, cache):
    process = multiprocessing.get_context("fork").Process(target=fetch, args=(f"{server}/slow", DIGEST))
    process.start()
    deadline = time.monotonic() + 20
    while not list(cache.glob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (cache / DIGEST).exists()
    assert fetch(f"{server}/data", DIGEST).read_bytes() == CONTENT
    assert visible(cache) == [DIGEST], "what the killed download left is gone"


def test_processes_that_fetch_at_once_download_once(server, cache):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(f"{server}/data.npz", DIGEST)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert Handler.asked == ["/data.npz"]


def test_files_of_packages_and_file_urls_are_used_in_place(cache, tmp_path):
    (tmp_path / "weights.bin").write_bytes(CONTENT)
    assert fetch((tmp_path / "weights.bin").as_uri(), DIGEST) == tmp_path / "weights.bin"
    import numpy

    inside = Path(numpy.__file__).parent / "py.typed"
    assert fetch("numpy:py.typed", hashlib.sha256(inside.read_bytes()).hexdigest()) == inside
    assert not cache.exists()


@pytest.mark.parametrize(
    "source, digest, message",
    [
        ("http://127.0.0.1:9/x", "12", "sha256 must have 64 hexadecimal digits, not '12'"),
        ("ftp://host/x", DIGEST, "give an https, http or file URL, or 'package:path/inside'"),
        ("numpy:../torch/version.py", DIGEST, "give an https, http or file URL, or 'package:path/inside'"),
        ("weights.bin", DIGEST, "give an https, http or file URL, or 'package:path/inside'"),
        ("nowhere_at_all:x", DIGEST, "the package 'nowhere_at_all' is not installed"),
        ("numpy:nothing.npz", DIGEST, "the package 'numpy' has no such file"),
        ("numpy:py.typed", DIGEST, f"not {DIGEST}; check the source"),
        ("file:///nowhere/x", DIGEST, "/nowhere/x cannot be read: No such file or directory"),
    ],
)
def test_mistakes_are_named_in_one_line(cache, source, digest, message):
    with pytest.raises(UserError) as error:
        fetch(source, digest)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
