"""Arrays and tensors on disk are the same files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from proponent.errors import UserError
from proponent.store.arrays import load_arrays, map_arrays, save_arrays
from proponent.store.tensors import load_tensors, save_tensors

ARRAYS = {
    "scores": np.arange(6, dtype=np.float32).reshape(2, 3),
    "masks": np.array([[True, False]]),
    "y": np.array([3, 1]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
}


def test_arrays_and_tensors_are_written_as_the_same_bytes(tmp_path: Path) -> None:
    metadata = {"setting": "toy", "key": "abc", "method": "é"}
    save_arrays(tmp_path / "arrays", ARRAYS, metadata)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in ARRAYS.items()}
    save_tensors(tmp_path / "tensors", tensors, metadata)
    assert (tmp_path / "arrays").read_bytes() == (tmp_path / "tensors").read_bytes()


def test_each_reads_what_the_other_wrote(tmp_path: Path) -> None:
    save_arrays(tmp_path / "file", ARRAYS)
    read, tensors = load_arrays(tmp_path / "file"), load_tensors(tmp_path / "file")
    assert set(read) == set(tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def test_maps_have_the_same_content_and_changes_never_reach_the_file(tmp_path: Path) -> None:
    more = {
        name: np.array([[1, 0, 3]]).astype(name) for name in ("uint8", "int16", "float16", "float64", "bool")
    }
    save_arrays(tmp_path / "file", {**ARRAYS, **more, "none": np.empty((0, 3), np.float32)}, {"key": "é"})
    mapped, tensors = map_arrays(tmp_path / "file"), load_tensors(tmp_path / "file")
    for name, array in load_arrays(tmp_path / "file").items():
        np.testing.assert_array_equal(mapped[name], array)
        assert mapped[name].dtype == array.dtype
        assert type(mapped[name]) is np.ndarray
    before = (tmp_path / "file").read_bytes()
    mapped["scores"][:] = 7
    tensors["scores"][:] = 7
    assert (tmp_path / "file").read_bytes() == before


def test_a_file_that_is_not_safetensors_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match=r"broken\.safetensors: not a readable safetensors file"):
        load_arrays(tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match=r"broken\.safetensors: not a readable safetensors file"):
        map_arrays(tmp_path / "broken.safetensors")


def test_reading_arrays_does_not_import_torch() -> None:
    program = "import sys, proponent.store.arrays; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
