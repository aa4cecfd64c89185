"""Laws 1 and 8 with DVC's caches on several file systems, in place of a run: invented bytes with true manifests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from faults.results_tree import Tree, add_external_method, moved_tree, planned_tree
from proponent.inspection.verify import verify
from proponent.store.file_times import SECOND
from workflow.checkout import make_checkout

pytestmark = pytest.mark.slow

METRICS = "results/toy/metrics/graddot.json"
IGNORED = "keys\nbenchmarks\n.times\n"
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q"],
}
MIB = {"ext4": 48, "xfs": 320}
"""Sizes of images that hold these file systems."""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = make_checkout(tmp_path_factory.mktemp("planned") / "checkout").root
    add_external_method(root)
    return planned_tree(root, 0)


def mount(kind: str, folder: Path) -> Path:
    """Mount a file system of one kind and return the mount point."""
    point = folder / "mounted"
    point.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "tmpfs", str(point)]
    elif kind == "overlay":
        for name in ("lower", "upper/upper", "upper/work"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={folder}/lower,upperdir={folder}/upper/upper,workdir={folder}/upper/work"
        command = ["mount", "-t", "overlay", "overlay", "-o", layers, str(point)]
    else:
        image = folder / "image"
        with image.open("wb") as stream:
            stream.truncate(MIB[kind] << 20)
        run([*MAKE[kind], str(image)], kind)
        command = ["mount", "-o", "loop", str(image), str(point)]
    run(command, kind)
    return point


def run(command: list[str], kind: str) -> None:
    """Run a command that needs a program and, mostly, the rights of root; skip the test without them."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{kind}: no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{kind}: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on the file system that the test names; the default one of temporary files without a name."""
    kind = request.param
    if kind == "default":
        yield tmp_path
        return
    point = mount(kind, tmp_path)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def repository(root: Path, storage: Path, links: str) -> Repo:
    """Return a new DVC repository without git, with one kind of links between cache and results."""
    root.mkdir()
    (root / ".dvcignore").write_text(IGNORED)
    repo = Repo.init(str(root), no_scm=True)
    with repo.config.edit() as config:
        config["cache"]["type"] = [links]
        config["remote"]["storage"] = {"url": str(storage)}
        config["core"]["remote"] = "storage"
    return Repo(str(root))


def record(tree: Tree, repo: Repo) -> None:
    """Settle, and let DVC record and push what it takes for the present bytes, as ``dvc repro`` and ``dvc push`` do."""
    assert tree.settle() == set()
    assert tree.asked() == set()
    os.chdir(tree.root)
    repo.add("results")
    repo.push()


def pull(repo: Repo, source: Path) -> None:
    os.chdir(repo.root_dir)
    shutil.copy(source / "results.dvc", repo.root_dir)
    repo.pull()


@pytest.mark.parametrize(
    ("folder", "links"),
    [
        ("default", "hardlink"),
        ("default", "symlink"),
        ("tmpfs", "hardlink"),
        ("ext4", "copy"),
        ("xfs", "reflink"),
        ("overlay", "copy"),
    ],
    indirect=["folder"],
)
def test_a_clone_gets_the_new_bytes_and_has_nothing_to_do(
    planned: Tree, folder: Path, links: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    origin, clone = (repository(folder / name, folder / "storage", links) for name in ("origin", "clone"))
    made = moved_tree(planned, folder / "origin")
    made.time = time.time_ns() - 3600 * SECOND
    made.make_all()
    record(made, origin)
    pulled = moved_tree(planned, folder / "clone")
    for salt in ("other", ""):
        pull(clone, folder / "origin")
        assert pulled.settle() == set()
        assert pulled.asked() == set(), "nothing to do after a pull"
        assert clone.status() == {}
        assert verify(pulled.root, {path: node.key for path, node in pulled.graph.nodes.items()}).faults == {}
        for name in made.files():
            if not any(part in name for part in ("/keys/", "/benchmarks/")):
                assert (pulled.root / name).read_bytes() == (made.root / name).read_bytes(), name
        # In place: the same inodes and sizes, as if all freed inodes were handed out again.
        made.time = time.time_ns() - SECOND
        made.remake(METRICS, salt)
        record(made, origin)
