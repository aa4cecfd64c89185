"""Forms in which a dataset factory may give its data, and inputs of several tensors."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import Dataset, TensorDataset

from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.rows import NamedRows, named_tensors, rows_of
from proponent.settings import Split
from proponent.settings.accepted_forms import read_examples
from proponent.settings.split import Arrays, check_model, check_tokens, materialise
from proponent.settings.tasks import get_task

N, QUERIES = 7, QueriesConfig(tune=1, test=2)
IMAGE = torch.arange(N * 12, dtype=torch.uint8).reshape(N, 3, 4)
TABLE = torch.arange(N * 2, dtype=torch.float32).reshape(N, 2) / 8
Y = torch.arange(N) % 3


class Pictured(NamedTuple):
    """Inputs of an example."""

    image: torch.Tensor
    table: torch.Tensor


class Labelled(NamedTuple):
    """An example."""

    image: torch.Tensor
    table: torch.Tensor
    target: int


class Rowwise(Dataset):
    """A dataset that makes its rows with a function."""

    def __init__(self, row, length=N):
        self.row, self.length = row, length

    def __getitem__(self, index):
        return self.row(index)

    def __len__(self):
        return self.length


def arrays(train, query=None) -> Arrays:
    query = train if query is None else query
    return materialise(Split(train=train, query=query), get_task("classification"), QUERIES, "mine")


def refusal(train, query=None) -> str:
    with pytest.raises(UserError) as error:
        arrays(train, query)
    assert "\n" not in str(error.value)
    return str(error.value)


BY_NAME = {
    "mapping of arrays": {"image": IMAGE, "table": TABLE, "y": Y},
    "x is a mapping": ({"image": IMAGE.numpy(), "table": TABLE.numpy()}, Y.numpy()),
    "x under its name": {"x": {"image": IMAGE, "table": TABLE}, "labels": Y},
    "x is a named tuple": (Pictured(IMAGE, TABLE), Y),
    "a named tuple of arrays": Labelled(IMAGE, TABLE, Y),
    "rows are mappings": [
        {"image": i, "table": t, "label": int(y)} for i, t, y in zip(IMAGE, TABLE, Y, strict=True)
    ],
    "x of a row is a mapping": Rowwise(lambda row: ({"image": IMAGE[row], "table": TABLE[row]}, Y[row])),
    "x is a list of mappings": (
        [{"image": i.numpy(), "table": t.tolist()} for i, t in zip(IMAGE, TABLE, strict=True)],
        Y.tolist(),
    ),
    "rows are named tuples": Rowwise(lambda row: Labelled(IMAGE[row], TABLE[row], Y[row])),
    "x of a row is a named tuple": Rowwise(lambda row: (Pictured(IMAGE[row], TABLE[row]), Y[row])),
}


@pytest.mark.parametrize("train", BY_NAME.values(), ids=BY_NAME)
def test_inputs_with_names_are_kept_by_name_in_every_form(train):
    found = arrays(train)
    assert isinstance(found.x_train, NamedRows)
    assert not found.x_train.positional
    assert {name: value.dtype for name, value in found.x_train.tensors.items()} == {
        "image": torch.uint8,
        "table": torch.float32,
    }
    assert torch.equal(found.x_train.tensors["image"], IMAGE)
    assert torch.equal(found.x_train.tensors["table"], TABLE)
    assert torch.equal(found.y_train, Y)
    assert len(found.x_query) == 3


@pytest.mark.parametrize(
    "train",
    [
        ((IMAGE, TABLE), Y),
        {"x": (IMAGE, TABLE), "y": Y},
        [((i, t), y) for i, t, y in zip(IMAGE, TABLE, Y, strict=True)],
        {"x0": IMAGE, "x1": TABLE, "target": Y},
    ],
    ids=["pair", "mapping", "rows", "names of positions"],
)
def test_inputs_of_a_tuple_are_kept_by_position(train):
    found = arrays(train)
    assert isinstance(found.x_train, NamedRows)
    assert found.x_train.positional
    assert list(found.x_train.tensors) == ["x0", "x1"]
    assert torch.equal(found.x_train.tensors["x1"], TABLE)


def test_other_names_with_numbers_are_keywords():
    rows = arrays({"x1": IMAGE, "x2": TABLE, "y": Y}).x_train
    assert not rows.positional
    twelve = arrays(((TABLE,) * 12, Y)).x_train
    assert list(rows_of(dict(sorted(twelve.tensors.items()))).tensors) == [f"x{place}" for place in range(12)]


def pandas_frame(**columns):
    import pandas as pd

    return pd.DataFrame({"a": TABLE[:, 0].numpy(), "b": TABLE[:, 1].numpy(), **columns})


SINGLE = {
    "pair of lists of tensors": lambda: (list(TABLE), Y.tolist()),
    "rows with a tuple of numbers": lambda: [
        (tuple(t.tolist()), y) for t, y in zip(TABLE, Y.tolist(), strict=True)
    ],
    "tuple of rows": lambda: (tuple(TABLE), Y),
    "mapping with labels": lambda: {"features": TABLE, "labels": Y},
    "sparse": lambda: (csr_array(TABLE.numpy()), Y),
    "frame with labels": lambda: pandas_frame(y=Y.numpy()),
    "frame and series": lambda: (pandas_frame(), pandas_frame(y=Y.numpy())["y"]),
    "nullable frame": lambda: pandas_frame(label=Y.numpy()).convert_dtypes(),
    "backwards and big-endian": lambda: (TABLE.numpy()[::-1].astype(">f4")[::-1], Y),
}


@pytest.mark.parametrize("make", SINGLE.values(), ids=SINGLE)
def test_a_single_input_is_one_tensor_in_every_form(make):
    found = arrays(make())
    (values,) = named_tensors(found.x_train).values()
    torch.testing.assert_close(values, TABLE)
    assert torch.equal(found.y_train, Y)


def test_columns_of_datasets_are_read_in_batches():
    datasets = pytest.importorskip("datasets")
    calls = []

    def scaled(batch):
        calls.append(len(batch["label"]))
        return {**batch, "pixels": [np.asarray(row, dtype=np.uint8) for row in batch["pixels"]]}

    columns = {"pixels": IMAGE.flatten(1).tolist(), "label": Y.tolist()}
    found = arrays(datasets.Dataset.from_dict(columns).with_transform(scaled))
    assert torch.equal(named_tensors(found.x_train)["pixels"], IMAGE.flatten(1))
    assert calls[0] == N
    noise = datasets.Dataset.from_dict(columns).with_transform(
        lambda batch: {"label": batch["label"], "pixels": [np.random.rand(4) for _ in batch["label"]]}  # noqa: NPY002
    )
    assert "train row 0 differs between two reads" in refusal(noise)
    plain = arrays(datasets.Dataset.from_dict(columns).with_format("torch"))
    assert torch.equal(named_tensors(plain.x_train)["pixels"], IMAGE.flatten(1).long())


def test_images_of_pillow_are_bytes():
    image = pytest.importorskip("PIL.Image")
    colours = np.arange(N * 24, dtype=np.uint8).reshape(N, 4, 2, 3)
    found = arrays([(image.fromarray(picture), int(y)) for picture, y in zip(colours, Y, strict=True)])
    assert torch.equal(named_tensors(found.x_train)["x"], torch.from_numpy(colours))
    palette = [(image.fromarray(picture).convert("P"), 0) for picture in colours]
    assert "mode P; convert it, for example by convert('RGB')" in refusal(palette)


TOKENS = [[5, 3], [2, 7, 7, 1], [4], [1, 2, 3], [9], [8, 8], [6, 6, 6]]


def test_lists_of_tokens_are_padded_to_the_longest_of_both_parts_with_a_mask():
    found = arrays((TOKENS, Y.tolist()), ([[1, 2], [3], [1, 1, 1, 1, 1]], [0, 1, 2]))
    assert isinstance(found.x_train, NamedRows)
    ids, mask = found.x_train.tensors["input_ids"], found.x_train.tensors["attention_mask"]
    assert ids.shape == (N, 5)
    assert ids[1].tolist() == [2, 7, 7, 1, 0]
    assert mask[1].tolist() == [1, 1, 1, 1, 0]
    assert [row[row_mask == 1].tolist() for row, row_mask in zip(ids, mask, strict=True)] == TOKENS
    check_tokens(found, "setting mine")


def test_lists_of_one_length_in_one_part_get_the_mask_of_the_other():
    found = arrays((TOKENS, Y.tolist()), ([[1, 2], [3, 4], [5, 6]], [0, 1, 2]))
    assert found.x_query.tensors["attention_mask"].tolist() == [[1, 1, 0, 0]] * 3


def test_masks_that_the_data_have_are_kept_and_padded():
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [1] * len(ids), "label": 1}
        for ids in TOKENS
    ]
    found = arrays(rows).x_train
    assert set(found.tensors) == {"input_ids", "attention_mask", "token_type_ids"}
    assert found.tensors["attention_mask"].sum(1).tolist() == [len(ids) for ids in TOKENS]


def test_labels_of_every_token_are_padded_with_the_ignored_label():
    task = get_task("language-model")
    split = Split(train=(TOKENS, TOKENS), query=(TOKENS, TOKENS))
    found = materialise(split, task, QUERIES, "mine")
    assert found.y_train[1].tolist() == [2, 7, 7, 1]
    assert found.y_train[2].tolist() == [4, -100, -100, -100]


@pytest.mark.parametrize(
    "train, query, parts",
    [
        ({"image": IMAGE, "table": TABLE}, None, ["a mapping must have one of the names y, label"]),
        ({"x": TABLE, "y": Y, "label": Y}, None, ["one of the names y, label, labels, target"]),
        (({"y": TABLE}, Y), None, ["input name 'y' cannot be used", "rename it"]),
        (({"a b": TABLE}, Y), None, ["input name 'a b' cannot be used"]),
        (({"a": {"b": TABLE}}, Y), None, ["the input 'a' is a dict", "without mappings inside mappings"]),
        (({}, Y), None, ["there are no inputs"]),
        (({"a": TABLE, "b": IMAGE[:5]}, Y), None, ["b has shape (5, 3, 4) and y (7,)"]),
        (
            ({"a": TABLE}, Y),
            ({"b": TABLE}, Y),
            ["inputs of train are a, and those of query b", "same names"],
        ),
        (({"a": TABLE}, Y), ({"a": TABLE[:, :1]}, Y), ["a row of train a has shape (2,)"]),
        (({"a": IMAGE}, Y), ({"a": IMAGE.float()}, Y), ["train a is torch.uint8 and query a torch.float32"]),
        (
            (["a text"] * N, Y),
            None,
            ["train x of row 0: cannot be made a tensor (it holds text; turn it into"],
        ),
        ((np.array([object()] * N), Y), None, ["its type is object"]),
        (
            Rowwise(lambda row: (IMAGE[row], TABLE[row], Y[row])),
            None,
            ["row 0 must be a pair (x, y), not 3 values", "a tuple or a mapping in place of x"],
        ),
        (TensorDataset(IMAGE, TABLE, Y), None, ["not 3 values"]),
        (([{"a": 1.0}] * 3, Y), None, ["a has shape (3,) and y (7,)"]),
        (([{"a": 1.0}, {"b": 1.0}], Y), None, ["row 1 has the names b, and row 0 a"]),
        ([{"a": 1.0, "y": 0}, {"b": 1.0, "y": 0}], None, ["row 1 has the names b, y, and row 0 a, y"]),
        (
            ({"one": TOKENS, "two": TOKENS[::-1]}, Y),
            None,
            ["lists of 'two' and 'one' have different lengths", "a mask of its own"],
        ),
        (([[0.5], [0.5, 0.5], *[[0.5]] * 5], Y), None, ["x of row 1 has shape (2,) and that of row 0 (1,)"]),
        (iter([]), None, ["must be a pair (x, y)", "not a list_iterator"]),
        ("train.csv", None, ["must be a pair (x, y)", "not a str"]),
        (
            Rowwise(lambda row: (np.ones(2, np.int64 if row else np.uint16), Y[row])),
            None,
            ["x of row 1 is torch.int64 and that of row 0 torch.uint16; give all rows one type"],
        ),
        ((TABLE, torch.eye(N)), None, ["one integer per example, not rows of shape (7,)", "y.argmax(1)"]),
        (
            SimpleNamespace(column_names=["x", "y"], features={}),  # a stream of datasets has no length
            None,
            ["or an indexable dataset", "not a SimpleNamespace"],
        ),
    ],
)
def test_what_is_refused_says_which_form_is_wanted(train, query, parts):
    message = refusal(train, query)
    assert message.startswith("setting mine: ")
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "column, parts",
    [
        ({"kind": list("abcabca")}, ["column 'kind' is of type", "get_dummies"]),
        ({"missing": [1.0, None, 2, 3, 4, 5, 6]}, ["x holds NaN or infinite numbers in 1 rows (first: 1)"]),
    ],
    ids=["text", "missing"],
)
def test_columns_of_tables_that_are_not_numeric_are_refused(column, parts):
    message = refusal(pandas_frame(y=Y.numpy(), **column))
    assert all(part in message for part in parts), message
    assert "needs one column with a name of y, label" in refusal(pandas_frame())


@pytest.mark.parametrize(
    "x, call",
    [({"image": IMAGE, "table": TABLE}, "model(image=…, table=…)"), ((IMAGE, TABLE), "model(x0, x1)")],
)
def test_a_model_that_does_not_take_the_inputs_is_told_how_it_is_called(x, call):
    with pytest.raises(UserError, match="cannot process examples of shape") as error:
        check_model(torch.nn.Linear(2, 3), arrays((x, Y)), get_task("classification"), "mine")
    assert call in str(error.value)


@pytest.mark.parametrize("rows", [False, True])
def test_weights_are_read_under_their_name(rows):
    weight = torch.rand(N)
    data = {"x": TABLE, "y": Y, "weight": weight}
    if rows:
        data = [{name: values[row] for name, values in data.items()} for row in range(N)]
    assert torch.equal(read_examples(data, "train").weight, weight)


def noisy(row):
    return IMAGE[row] + torch.rand(3, 4), Y[row]


def rarely_noisy():
    generator = np.random.default_rng(0)

    def row(index):
        return np.ones(2) * (index + (generator.random() < 0.1)), int(Y[index])

    return Rowwise(row)


def test_a_dataset_whose_rows_differ_between_two_reads_is_named():
    assert "train row 0 differs between two reads" in refusal(Rowwise(noisy))
    assert "augment: {factory: ...}" in refusal(Rowwise(noisy))
    assert "differs between two reads" in refusal(rarely_noisy())


def test_rows_that_are_random_by_their_index_only_are_not_random():
    def row(index):
        return torch.rand(4, generator=torch.Generator().manual_seed(index)), Y[index]

    assert len(arrays(Rowwise(row)).x_train) == N


def test_a_row_of_fractions_after_whole_numbers_keeps_its_fractions():
    rows = [([1, 2], 0), ([1.5, 2], 1), *[([3, 4], 2)] * 3]
    assert arrays(rows).x_train[1].tolist() == [1.5, 2.0]


def test_no_form_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays(BY_NAME["mapping of arrays"])
        arrays(SINGLE["frame with labels"]())
