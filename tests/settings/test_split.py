"""From a dataset factory's answer to validated tensors; each mistake is one line that says what to do."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.settings import Split
from proponent.settings.split import check_model, materialise
from proponent.settings.tasks import get_task

QUERIES = QueriesConfig(tune=2, test=3)
X, Y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
QUERY = (torch.randn(7, 4), torch.tensor([2, 1, 0, 1, 2, 0, 0]))


def arrays(train=(X, Y), query=QUERY, task="classification", **fields):
    return materialise(Split(train=train, query=query, **fields), get_task(task), QUERIES, "mine")


def test_rows_become_float32_and_labels_int64_and_queries_are_cut():
    result = arrays(train=(X, Y.to(torch.uint8)))
    assert result.x_train.dtype == torch.float32
    assert result.y_train.dtype == torch.int64
    assert torch.equal(result.x_query, QUERY[0][:5])
    assert torch.equal(result.y_query, QUERY[1][:5])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
)
def test_integers_and_bytes_keep_their_type(dtype):
    x = (torch.arange(36).reshape(9, 4) % 2).to(dtype)
    result = arrays(train=(x, Y), query=(x[:7], QUERY[1]))
    assert torch.equal(result.x_train, x)
    assert result.x_train.dtype == result.x_query.dtype == dtype


@pytest.mark.parametrize(
    "train",
    [
        (X.numpy(), Y.numpy()),
        (X.tolist(), Y.tolist()),
        TensorDataset(X, Y),
        [(row.numpy(), int(label)) for row, label in zip(X, Y, strict=True)],
    ],
    ids=["numpy", "lists", "dataset", "list of pairs"],
)
def test_arrays_and_datasets_are_the_same(train):
    if isinstance(train, tuple) and isinstance(train[0], list):
        train = (np.asarray(train[0]), np.asarray(train[1]))
    result = arrays(train=train)
    torch.testing.assert_close(result.x_train, X.float())
    assert torch.equal(result.y_train, Y)


def test_data_that_a_gpu_does_not_hold_are_refused(monkeypatch):
    small = SimpleNamespace(total_memory=100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: small)
    with pytest.raises(UserError, match=r"need all data on the GPU: .* set compute\.device to cpu"):
        arrays().to("cuda")


def test_tokens_stay_integers():
    tokens = torch.randint(5, (9, 6))
    result = arrays(train=(tokens, tokens), query=(tokens[:7], tokens[:7]), task="language-model")
    assert result.x_train.dtype == torch.int64


def test_regression_labels_become_float32():
    result = arrays(train=(X, Y), query=QUERY, task="regression")
    assert result.y_train.dtype == torch.float32


NAN = X.clone()
NAN[4, 1] = torch.nan


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"train": (X, Y[:8])}, r"setting mine: train: x has shape \(9, 4\) and y \(8,\)"),
        ({"train": (X[:0], Y[:0])}, "setting mine: train: there are no examples"),
        ({"train": []}, "setting mine: train: there are no examples"),
        ({"train": (NAN, Y)}, "x holds NaN or infinite numbers in 1 rows .first: 4"),
        (
            {"query": (torch.full((7, 4), torch.inf), QUERY[1])},
            "query: x holds NaN or infinite numbers in 7 rows",
        ),
        ({"train": (X, Y.float() * torch.nan)}, "y holds NaN or infinite numbers"),
        ({"train": (X, Y.float())}, "labels must be integers, not torch.float32; convert them"),
        ({"train": (X, Y - 1)}, "label -1 is negative; number the classes from 0"),
        ({"class_names": ["a", "b"]}, "label 2 is out of range for 2 classes; labels run from 0 to 1"),
        ({"train": (X, torch.eye(9)), "query": (QUERY[0], torch.eye(7, 9))}, "one integer per example"),
        ({"query": (QUERY[0][:4], QUERY[1][:4])}, "there are 4 queries but queries.tune . queries.test is 5"),
        (
            {"query": (QUERY[0][:, :3], QUERY[1])},
            r"a row of train x has shape \(4,\) and one of query x \(3,\)",
        ),
        (
            {"train": 5},
            r"must be a pair \(x, y\) or a mapping .* dataset of such pairs, not a int",
        ),
        ({"train": [(X[0], 1), X[1]]}, "row 1 must be a pair .x, y., not a Tensor"),
        ({"train": [(X[0], 1), (X[1, :2], 1)]}, r"x of row 1 has shape \(2,\) and that of row 0 \(4,\)"),
        ({"train": (np.array(["a", "b"]), Y[:2])}, "train x: cannot be made a tensor"),
    ],
)
def test_mistakes_are_named_in_one_line(fields, match):
    with pytest.raises(UserError, match=match) as error:
        arrays(**fields)
    assert str(error.value).startswith("setting mine: ")
    assert "\n" not in str(error.value)


def test_language_model_labels():
    tokens = torch.randint(5, (9, 6))
    with pytest.raises(UserError, match="one token per position"):
        arrays(train=(tokens, Y), query=(tokens[:7], Y[:7]), task="language-model")
    with pytest.raises(UserError, match="consists of ignored positions"):
        arrays(
            train=(tokens, torch.full_like(tokens, -100)),
            query=(tokens[:7], tokens[:7]),
            task="language-model",
        )


def test_class_names_make_no_sense_for_regression():
    with pytest.raises(UserError, match="regression has no classes"):
        arrays(task="regression", class_names=["a"])


def test_a_model_that_fits_the_data_passes_and_keeps_its_mode():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    check_model(model, arrays(), get_task("classification"), "mine")
    assert model.training


@pytest.mark.parametrize(
    "model, match",
    [
        (nn.Linear(5, 3), r"the model cannot process examples of shape \(4,\) and torch.float32"),
        (nn.Linear(4, 2), "label 2 is out of range for 2 classes"),
        (nn.GRU(4, 3), "the model returned a tuple; return one tensor of outputs"),
        (nn.Embedding(4, 2), "the model cannot process examples"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(model, match):
    with pytest.raises(UserError, match=match) as error:
        check_model(model, arrays(), get_task("classification"), "mine")
    assert "\n" not in str(error.value)
