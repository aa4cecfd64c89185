"""Faults that folders, file systems and owners brought out: group 'places' of the list of faults."""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import getpass
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from mlflow import MlflowClient

from faults.results_tree import Tree, moved_tree, planned_tree
from proponent.checkout_location import check_location
from proponent.errors import UserError
from proponent.file_locks import acquire, exclusive
from proponent.plan import controller
from proponent.plan.controller import controller_process, hold_checkout
from proponent.publish.artifact_folders import local_path
from proponent.publish.tracking import Record, publish
from proponent.steps.publish import tracking_uri
from proponent.store.arrays import save_arrays
from proponent.store.file_times import SECOND, set_time
from proponent.store.files import write_json
from proponent.store.lease import leased
from proponent.store.tensors import save_tensors
from snakemake_logger_plugin_proponent.user_environment import prepare_user_environment
from workflow.checkout import make_checkout

HOUR = 3600 * SECOND
METRICS = "results/toy/metrics/graddot.json"


def refusing(code: int):
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, in which this process stands."""
    (tmp_path / "checkout/src/proponent").mkdir(parents=True)
    (tmp_path / "checkout/src/proponent/__init__.py").touch()
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The artefacts of the toy setting, none of them made."""
    root = make_checkout(tmp_path_factory.mktemp("places") / "checkout").root
    return planned_tree(root, time.time_ns() - HOUR)


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Release the locks of a controller after the test."""
    held: list[FileLock] = []
    monkeypatch.setattr(controller, "_held", held)
    yield
    for lock in held:
        lock.release()


# ---------------------------------------------------------------------------------------------------- path_with_colon


@pytest.mark.parametrize("name", ["a:b", "a{b}", "open{", "two\nlines", os.fsdecode(b"latin-\xe9")])
def test_path_with_colon_and_other_breaking_characters_is_refused_in_one_line(tmp_path, monkeypatch, name):
    (tmp_path / name / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match=r"this path .*(move or )?rename the folder") as caught:
        check_location(Path.cwd())
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()


@pytest.mark.parametrize(
    "name", ["with space", "quo'te", 'dou"ble', "ünï日本", "100%s", "do$llar", "que?", "ha#sh;", "[a]*"]
)
def test_path_that_snakemake_can_live_in_is_not_refused(tmp_path, monkeypatch, name):
    (tmp_path / name / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / name)
    check_location(Path.cwd())


# -------------------------------------------------------------------------------------------- snakefile_from_elsewhere


def test_snakefile_from_elsewhere_is_refused(root, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(root)
    check_location(tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"results are written to the current directory.* add --directory"):
        check_location(root)


@pytest.mark.slow
def test_snakefile_from_elsewhere_is_one_line_of_snakemake_and_writes_no_results(planned, tmp_path):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        planned.root / "Snakefile",
        "--cores",
        "1",
        "-n",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    errors = [
        line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")
    ]
    assert done.returncode == 1
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {planned.root}: results are written to the current directory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "hidden"),
    [
        ("random.py", "the module 'random' of Python's standard library"),
        ("json/__init__.py", "the module 'json' of Python's standard library"),
        ("src/statistics.py", "the module 'statistics' of Python's standard library"),
        ("torch.py", "the installed package 'torch'"),
        ("numpy/__init__.py", "the installed package 'numpy'"),
        ("src/yaml.py", "the installed package 'yaml'"),
    ],
)
def test_snakefile_from_elsewhere_module_that_hides_another_is_refused_by_name(root, file, hidden):
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).touch()
    with pytest.raises(UserError) as caught:
        check_location(root)
    assert str(caught.value).startswith(f"{file.removesuffix('/__init__.py')}: has the name of {hidden}")


def test_modules_of_the_users_own_are_not_refused(root):
    for name in ("factories.py", "lab/__init__.py", "json_files/x.py", "random/notes.md", "torch.yaml"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    check_location(root)


# -------------------------------------------------------------------------------------------------- other_file_systems


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_other_file_systems_without_flock_run_with_one_note(root, locks, monkeypatch, capsys, code):
    (root / ".snakemake/locks").mkdir(parents=True)
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    assert hold_checkout(root)
    assert controller_process(root) is None
    with exclusive(root / "mlflow.db.lock"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("has no locks, so two runs at once cannot be kept apart" in line for line in lines)
    assert (root / ".snakemake/locks").is_dir(), "they may be those of a run that goes on"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK])
def test_other_file_systems_without_hard_links_keep_jobs_apart(tmp_path, monkeypatch, code):
    artefact = tmp_path / "scores.safetensors"
    monkeypatch.setattr(os, "link", refusing(code))
    with leased(artefact, lambda: False) as lease:
        lease.check()
        command = (
            "import pathlib, sys, proponent.store.lease as l; print(l._take(pathlib.Path(sys.argv[1]), None))"
        )
        other = subprocess.run(
            [sys.executable, "-c", command, str(artefact)], capture_output=True, text=True, check=True
        )
        assert other.stdout == "None\n", "another process cannot take the same lease"
        lease.check()
    assert not list(tmp_path.iterdir())


def test_other_file_systems_link_count_that_is_always_one(tmp_path, monkeypatch):
    real = os.stat

    def one_name(*arguments, **options):
        found = real(*arguments, **options)
        return os.stat_result([*found[:3], 1, *found[4:10]])

    monkeypatch.setattr(os, "stat", one_name)
    with leased(tmp_path / "x", lambda: False) as lease:
        lease.check()
    assert not list(tmp_path.iterdir())


def test_other_file_systems_without_modes_or_syncing_of_folders(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files_alone(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    monkeypatch.setattr(os, "chmod", refusing(errno.EPERM))
    monkeypatch.setattr(Path, "chmod", refusing(errno.EPERM))
    save_tensors(tmp_path / "x.safetensors", {"x": torch.zeros(2)})
    write_json(tmp_path / "x.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"x.safetensors", "x.json"}


@pytest.fixture
def exfat(tmp_path: Path) -> Iterator[Path]:
    """A real exFAT, in Debian's packages exfatprogs and exfat-fuse: no links of either kind, no modes, one owner."""
    image, disk = tmp_path / "image", Path(tempfile.mkdtemp())
    disk.chmod(0o755)  # pytest's own folders are closed to other users
    with image.open("wb") as stream:
        stream.truncate(16 << 20)
    options = ["-t", "exfat-fuse", "-o", "loop,umask=0"]
    try:
        for command in (["mkfs.exfat", image], ["mount", *options, image, disk]):
            subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine cannot make or mount an exFAT: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    disk.rmdir()


def test_other_file_systems_real_exfat(exfat, planned, locks):
    tree = moved_tree(planned, exfat)
    tree.make_all()
    assert hold_checkout(tree.root)
    assert (tree.settle(), tree.asked()) == (set(), set())
    with leased(tree.root / METRICS, lambda: False) as lease:
        lease.check()
        save_tensors(tree.root / "results/x.safetensors", {"x": torch.zeros(2)})
    assert not list(tree.root.rglob("*.lease*"))
    with user(OTHER), pytest.raises(UserError, match=rf"every file to another user; .* uid={OTHER}$"):
        set_time(tree.root / METRICS, HOUR)


# ------------------------------------------------------------------------------------------------------ moved_checkout


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty tables, which take seconds to create, made in a folder whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("mlflow") / """a?b#c%20 'q' "d" ü"""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        publish([], tracking_uri(folder))
    assert {path.name for path in folder.iterdir()} >= {"mlflow.db"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing is written next to it"
    return folder / "mlflow.db"


def publish_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes) -> dict[str, int]:
    """Publish one record from a folder, with a database that this process has not opened before at this path."""
    monkeypatch.chdir(folder)
    content = {
        "params": {},
        "metrics": {},
        "tags": {},
        "data_digest": "ab",
        "data_source": "{}",
        "configuration": {},
    }
    return publish(
        [Record("toy", "trak", **{"key": "k", **content, **changes})], f"sqlite:///{folder}/mlflow.db"
    )


def artifacts(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "mlruns").rglob("*.*") if path.is_file())


def test_moved_checkout_finds_and_writes_artifacts_in_the_new_place(tmp_path, monkeypatch, empty_database):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.copy(empty_database, old)
    assert publish_in(old, monkeypatch) == {"written": 1}
    old.rename(new)
    assert publish_in(new, monkeypatch) == {"kept": 1}
    (run,) = MlflowClient(f"sqlite:///{new}/mlflow.db").search_runs(["1"])
    assert local_path(run.info.artifact_uri).is_relative_to(new)
    assert publish_in(new, monkeypatch, key="other") == {"written": 1, "superseded": 1}
    assert artifacts(new) == ["configuration.json"] * 2
    assert not old.exists()


def test_moved_checkout_a_copy_does_not_write_to_its_original(tmp_path, monkeypatch, empty_database):
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    shutil.copy(empty_database, original)
    publish_in(original, monkeypatch)
    shutil.copytree(original, copy)
    assert publish_in(copy, monkeypatch, key="other") == {"written": 1, "superseded": 1}
    assert artifacts(original) == ["configuration.json"]
    assert artifacts(copy) == ["configuration.json"] * 2


def test_moved_checkout_missing_artifacts_are_written_again(tmp_path, monkeypatch, empty_database):
    shutil.copy(empty_database, tmp_path)
    publish_in(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "mlruns")
    assert publish_in(tmp_path, monkeypatch) == {"updated": 1}
    assert artifacts(tmp_path) == ["configuration.json"]


# --------------------------------------------------------------------------------------------------------- other_owner


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_other_owner_modes_of_all_files_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "t.safetensors", {"x": torch.zeros(2)})
        save_arrays(tmp_path / "a.safetensors", {"x": np.zeros(2)})
        write_json(tmp_path / "j.json", 1)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o666 & ~umask}, modes


OWNER, OTHER, GROUP = 54320, 54321, 54322


@contextlib.contextmanager
def user(number: int) -> Iterator[None]:
    """Act as another user of the group, without root's rights."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    codecs.lookup("ascii")  # Python's own files may be closed to other users
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that all members of the group may change; pytest's own folders are closed to other users."""
    before = os.umask(0o002)
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, OWNER, GROUP)
        Path(folder).chmod(0o2775)
        yield Path(folder)
    os.umask(before)


def test_other_owner_may_ask_whether_a_run_is_active(shared):
    with user(OWNER):
        (shared / "results").mkdir()
        (shared / "results/.running").write_text("process 1")
        (shared / "results/.running").chmod(0o644)
        held = acquire(shared / "results/.running", 0)
    with user(OTHER):
        assert controller_process(shared) == "process 1"
    held.release()
    with user(OTHER):
        assert controller_process(shared) is None


def test_other_owner_results_of_another_user_are_current_and_can_be_repaired(shared, planned, locks):
    tree = moved_tree(planned, shared)
    with user(OWNER):
        tree.make_all()
        assert tree.settle() == set()
    with user(OTHER):
        assert hold_checkout(tree.root)
        before = tree.files()
        assert (tree.settle(), tree.asked()) == (set(), set())
        assert tree.files() == before
    with user(OWNER):
        for name in before:
            (tree.root / name).touch()
    with user(OTHER):
        assert (tree.settle(), tree.asked()) == (set(), set())
        with leased(tree.root / METRICS, lambda: False) as lease:
            write_json(tree.root / METRICS, 1)
            lease.check()
        assert tree.settle() == {METRICS}
        assert tree.asked() == tree.downstream(METRICS)


def test_other_owner_results_may_be_a_link_to_another_disk_and_moved_checkout_stays_current(
    tmp_path, planned
):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        (tmp_path / "checkout").mkdir()
        tree = moved_tree(planned, tmp_path / "checkout")
        (tree.root / "results").symlink_to(scratch)
        tree.make_all()
        assert (tree.settle(), tree.asked()) == (set(), set())
        moved = moved_tree(tree, tree.root.rename(tmp_path / "elsewhere"))
        before = moved.files()
        assert (moved.settle(), moved.asked()) == (set(), set())
        assert moved.files() == before


@pytest.mark.parametrize("link", ["results", "results/toy", "results/toy/ensemble"])
def test_other_owner_results_behind_a_link_are_refused_before_a_stage_of_dvc_runs(
    root, tmp_path, monkeypatch, link
):
    (tmp_path / "scratch").mkdir()
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(tmp_path / "scratch")
    check_location(root)  # Snakemake alone follows links
    monkeypatch.setenv("DVC_STAGE", "benchmark@toy")
    with pytest.raises(
        UserError, match=f"^{link}: is a link to .*scratch, and DVC versions no folder behind a link; "
    ):
        check_location(root)


def test_read_only_home_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing-can-be-made-here")
    with pytest.raises(SystemExit):
        prepare_user_environment()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /proc/nothing-can-be-made-here: ")
    assert line.endswith("set XDG_CACHE_HOME to a folder that you can write to")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare_user_environment()


def test_user_without_a_name_gets_one(tmp_path, monkeypatch):
    """A container started with ``--user 1234`` has no entry for this number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare_user_environment()
    assert getpass.getuser() == str(os.getuid())
