"""A full or read-only disk gives one line and no partial file. These tests mount real file systems."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from proponent.errors import UserError
from proponent.store.files import write_json
from proponent.store.lease import leased
from proponent.store.tensors import save_tensors
from workflow.checkout import make_checkout


def _mount(folder: Path, size: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"this user cannot mount a file system: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    _mount(disk, "64k")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_the_earlier_file(small_disk: Path):
    write_json(small_disk / "x.json", "before")
    with pytest.raises(UserError, match=r"x\.json: cannot be written: No space left on device"):
        write_json(small_disk / "x.json", "a" * 10**6)
    with pytest.raises(UserError, match=r"big\.safetensors: cannot be written"):
        save_tensors(small_disk / "big.safetensors", {"x": torch.zeros(10**6)})
    assert [path.name for path in small_disk.iterdir()] == ["x.json"]
    assert (small_disk / "x.json").read_text() == '"before"\n'


def test_a_read_only_disk_gives_one_line(small_disk: Path):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="cannot be written: Read-only file system") as caught:
        write_json(small_disk / "x.json", 1)
    assert "\n" not in str(caught.value)


def test_a_lease_that_cannot_be_written_leaves_no_file(small_disk: Path):
    artefact = small_disk / "scores.safetensors"
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    with pytest.raises(UserError, match="No space left on device"), leased(artefact, lambda: False):
        pass
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.slow
def test_a_run_on_a_full_disk_fails_with_the_reason_and_continues_when_there_is_space(tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout")
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random]")
    checkout.edit("params.yaml", "metrics: [lds, loo]", "metrics: [lds]")
    results = checkout.root / "results"
    results.mkdir()
    _mount(results, "300k")
    try:
        failed = checkout.snakemake(check=False)
        assert failed.returncode != 0
        assert "No space left on device" in failed.stdout
        assert not list(results.rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(results)], check=True)
        checkout.snakemake()
        assert (results / "leaderboard.csv").is_file()
    finally:
        subprocess.run(["umount", str(results)], check=True)


@pytest.mark.slow
def test_a_run_with_read_only_results_gives_one_line(tmp_path: Path):
    checkout = make_checkout(tmp_path / "checkout")
    results = checkout.root / "results"
    results.mkdir()
    _mount(results, "1m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(results)], check=True)
        failed = checkout.snakemake("-n", check=False)
        assert failed.returncode != 0
        assert "Read-only file system; results/ must be writable" in failed.stdout
        assert "Traceback" not in failed.stdout
    finally:
        subprocess.run(["umount", str(results)], check=True)
