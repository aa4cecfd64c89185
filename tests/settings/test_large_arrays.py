"""Large arrays are maps of nameless files: with the same content, and with nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.settings import Split, large_arrays
from proponent.settings.large_arrays import as_stored, empty_rows, large_arrays_in
from proponent.settings.loaded_dataset import digests_of
from proponent.settings.split import materialise
from proponent.settings.tasks import get_task


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(large_arrays, "LARGE", 100)
    monkeypatch.setattr(large_arrays, "_CHUNK", 64)
    return tmp_path / "data"


def maps_of(folder: Path) -> int:
    return len(re.findall(rf"{re.escape(str(folder))}\S* \(deleted\)", Path("/proc/self/maps").read_text()))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int16, torch.float32, torch.float64])
def test_content_and_type_are_kept_and_no_file_has_a_name(folder, dtype):
    values = torch.arange(300).reshape(100, 3).to(dtype)
    with large_arrays_in(folder):
        stored = empty_rows(values.shape, dtype)
        stored.copy_(values)
        assert maps_of(folder) == 1
        assert list(folder.iterdir()) == []
        assert torch.equal(as_stored(values.T, dtype), values.T)
    assert torch.equal(stored, values)
    assert maps_of(folder) == 1
    del stored
    assert maps_of(folder) == 0


def test_small_arrays_and_those_of_a_notebook_are_in_memory(folder):
    with large_arrays_in(folder):
        empty_rows((3, 3), torch.float32)
    empty_rows((300, 300), torch.float32)
    assert not folder.exists()


def test_rows_that_are_stored_already_are_not_copied(folder):
    values = torch.randn(100, 4)
    with large_arrays_in(folder):
        assert as_stored(values, torch.float32).data_ptr() == values.data_ptr()
        assert torch.equal(as_stored(values.double(), torch.float32), values)


class Rows:
    """Forty rows of one number each."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        if row >= 40:
            raise IndexError(row)
        return np.full((3, 4), row, np.uint8), row % 3


@pytest.mark.parametrize(
    "data",
    [Rows(), (np.random.default_rng(0).normal(size=(40, 3, 4)), torch.arange(40) % 3)],
    ids=["rows", "float64"],
)
def test_data_of_all_forms_are_the_same_in_files_and_in_memory(folder, data):
    def load():
        split = Split(train=data, query=data)
        return materialise(split, get_task("classification"), QueriesConfig(2, 2), "lab")

    with large_arrays_in(folder):
        stored = load()
        assert maps_of(folder) > 0
    in_memory = load()
    assert digests_of(stored) == digests_of(in_memory)
    assert torch.equal(stored.x_train, in_memory.x_train)


def test_a_full_disk_is_reported_in_one_line(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large_arrays.os, "posix_fallocate", full)
    with (
        large_arrays_in(folder),
        pytest.raises(UserError, match=r"no room for .* GiB of data: No space left on device"),
    ):
        empty_rows((100, 4), torch.float32)
