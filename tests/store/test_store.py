"""Artefacts are complete or absent, and every changed byte is found."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import torch

from proponent.errors import UserError
from proponent.store.files import replacing, sha256, write_json
from proponent.store.manifest import (
    Manifest,
    Part,
    check_bytes,
    is_current,
    manifest_path,
    read_manifest,
    write_manifest,
)
from proponent.store.snakemake_benchmark import read_benchmark
from proponent.store.tensors import load_tensors, open_tensors, save_tensors


@pytest.fixture
def artefact(tmp_path: Path) -> str:
    """An artefact of two files with its manifest."""
    save_tensors(tmp_path / "a/x.safetensors", {"scores": torch.arange(6.0)}, {"setting": "s"})
    write_json(tmp_path / "a/x.json", {"n": 1})
    first, second = tmp_path / "a/x.safetensors", tmp_path / "a/x.json"
    part = Part("a/x.json", sha256(second), second.stat().st_size)
    write_manifest(
        tmp_path, Manifest("a/x.safetensors", "k1", sha256(first), first.stat().st_size, parts=[part])
    )
    return "a/x.safetensors"


def test_equal_content_gives_equal_bytes(tmp_path: Path):
    """Safetensors itself writes metadata in a different order every time."""
    metadata = {name: f'a "quoted" \u2713 {name}' for name in ("setting", "method", "key", "sign", "design")}
    digests = set()
    for attempt in range(8):
        path = tmp_path / f"{attempt}.safetensors"
        save_tensors(path, {"b": torch.ones(3), "a": torch.zeros(2, 2)}, metadata)
        digests.add(sha256(path))
        with open_tensors(path) as (get, names, stored):
            assert stored == metadata
            assert sorted(names) == ["a", "b"]
            assert get("b").tolist() == [1, 1, 1]
    assert len(digests) == 1


def test_an_artefact_is_current_only_with_its_own_key(tmp_path: Path, artefact: str):
    assert is_current(tmp_path, artefact, "k1")
    assert not is_current(tmp_path, artefact, "k2")
    assert check_bytes(tmp_path, artefact).parts[0].path == "a/x.json"


def test_a_flipped_byte_is_found(tmp_path: Path, artefact: str):
    path = tmp_path / artefact
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert is_current(tmp_path, artefact, "k1")  # sizes alone cannot tell
    with pytest.raises(UserError, match="corrupt"):
        check_bytes(tmp_path, artefact)


def test_a_truncated_file_a_missing_part_and_a_malformed_manifest_are_found(tmp_path: Path, artefact: str):
    path = tmp_path / artefact
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert not is_current(tmp_path, artefact, "k1")
    with pytest.raises(UserError, match="truncated"):
        check_bytes(tmp_path, artefact)
    with pytest.raises(UserError, match="safetensors"):
        load_tensors(path)
    path.write_bytes(whole)
    (tmp_path / "a/x.json").unlink()
    assert not is_current(tmp_path, artefact, "k1")
    with pytest.raises(UserError, match=r"a/x\.json: missing"):
        check_bytes(tmp_path, artefact)
    manifest_path(path).write_text('{"artefact": 1}')
    assert not is_current(tmp_path, artefact, "k1")
    with pytest.raises(UserError, match="the manifest is malformed"):
        read_manifest(path)


def test_an_error_while_writing_keeps_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, {"old": True})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == '{\n "old": true\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_gives_one_line_and_no_file(tmp_path: Path):
    """The kernel limits the size of files here, as when a disk or a quota is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written") as caught:
            save_tensors(tmp_path / "big.safetensors", {"x": torch.zeros(10_000)})
        with pytest.raises(UserError, match="cannot be written"):
            write_json(tmp_path / "big.json", list(range(10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_gives_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file/below.json", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s\th:m:s\tmax_rss\n12.5\t0:00:12\t300.25\n", (12.5, 300.25)),
        ("s\tmax_rss\n0.2\tNA\n", (0.2, 0.0)),
        ("s\tmax_rss\n0.2\t-\n", (0.2, 0.0)),
        ("s\n0.2\n", None),
        ("", None),
    ],
)
def test_a_benchmark_file_of_snakemake_gives_seconds_and_memory(tmp_path: Path, text: str, expected):
    (tmp_path / "x.tsv").write_text(text)
    assert read_benchmark(tmp_path / "x.tsv") == expected
    assert read_benchmark(tmp_path / "missing.tsv") is None
