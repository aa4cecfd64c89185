"""``proponent.methods()``: the table of methods."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

import proponent
from proponent.errors import UserError
from proponent.trained.method_choice import METHOD_FILES

NET = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 3))
TRAIN = (torch.randn(200, 20), torch.arange(200) % 3)


def test_every_method_has_a_row_with_a_cost():
    table = proponent.methods()
    assert {row.name for row in table} == {path.stem for path in METHOD_FILES.glob("*.yaml")}
    for row in table:
        assert row.cost, row.name
        assert not re.search(r"`|:mod:", row.cost), row.name
        assert "Cost" not in row.cost, row.name


def test_needs_are_words():
    needs = {row.name: row.needs for row in proponent.methods()}
    assert needs["trak"] == "one model"
    assert needs["tracin"] == "one model, checkpoints with learning rates"
    assert needs["trak-20-path"] == "20 models, checkpoints with learning rates"
    assert needs["magic"] == "the recipe of the training"
    assert needs["datamodels"] == "retrainings on subsets"
    assert needs["random"] == "data"
    assert needs["bm25"] == "data of tokens"


def test_a_task_selects_rows():
    names = {row.name for row in proponent.methods(task="regression")}
    assert "trak" in names
    assert "dualda" not in names
    assert "dualda" in {row.name for row in proponent.methods(task="binary")}
    with pytest.raises(UserError, match="unknown task 'regresion'; did you mean 'regression'"):
        proponent.methods(task="regresion")
    smooth = {"name": "classification", "label_smoothing": 0.1}
    assert {row.name for row in proponent.methods(task=smooth)} >= {"trak", "graddot"}
    for task in (object, 3):
        with pytest.raises(UserError, match="has no method loss"):
            proponent.methods(task=task)
    with pytest.raises(UserError, match=r"model must be a torch\.nn\.Module, not a str"):
        proponent.methods("model.pt", (torch.eye(3), torch.arange(3)))


def test_the_memory_is_that_of_the_model_and_the_data():
    small, large = (
        {row.name: row.memory_mib for row in proponent.methods(NET, data)}
        for data in (TRAIN, (TRAIN[0].repeat(20, 1), TRAIN[1].repeat(20)))
    )
    gram = 5 * (4000**2) * 4 / 2**20  # the Gram matrix of 4,000 examples, in five copies
    assert large["trak"] == pytest.approx(gram, rel=0.05)
    assert all(small[name] <= large[name] for name in small if small[name] is not None)
    assert small["magic"] is None
    with pytest.raises(UserError, match="give both, or neither"):
        proponent.methods(NET)


def test_printed_as_text_as_html_and_as_a_frame():
    table = proponent.methods()
    first, rule, *rows = repr(table).splitlines()
    assert first.split() == ["name", "kind", "needs", "tasks", "cost"]
    assert set(rule) == {"-", " "}
    assert any(row.startswith("trak ") for row in rows)
    assert table._repr_html_().startswith("<table>")
    frame = table.to_frame()
    assert list(frame.columns) == ["name", "kind", "needs", "tasks", "cost"]
    assert len(frame) == len(table)
    assert "memory_mib" in proponent.methods(NET, TRAIN).to_frame().columns
    assert [row.name for row in table[:2]] == [table[0].name, table[1].name]


@pytest.mark.slow
def test_the_package_of_methods_stays_a_package():
    code = (
        "import proponent, sys; assert callable(proponent.methods); assert 'torch' not in sys.modules\n"
        "import proponent.methods.trak.trak as trak; assert trak.attribute; assert proponent.methods.trak.trak is trak\n"
        "assert len(proponent.methods()) > 40"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
