"""Faults of data, found by the data step: kinds of arrays, descriptions, random numbers, classes that only queries have."""

from __future__ import annotations

import itertools
import random
import sys
import types
import uuid
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from proponent.config.model_schema import FactoryConfig
from proponent.config.setting_schema import QueriesConfig
from proponent.errors import UserError
from proponent.methods.learned import airrep
from proponent.methods.representer import dualda, rps
from proponent.methods.shared.workspace import Workspace
from proponent.self_check.other_process import in_fork
from proponent.settings import Split
from proponent.settings.factories import build_model
from proponent.settings.label_noise import flip_labels
from proponent.settings.loaded_dataset import dataset_digests, digests_of, load_dataset, refuse_other_data
from proponent.settings.split import materialise
from proponent.settings.tasks import get_task

X, Y = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
TASK, QUERIES = get_task("classification"), QueriesConfig(2, 3)


def arrays(train, **fields):
    return materialise(Split(train=train, query=(X, Y), **fields), TASK, QUERIES, "lab")


@pytest.fixture
def factory(monkeypatch):
    """Return a function that makes an importable factory of a Python function, and its configuration."""

    def make(function) -> FactoryConfig:
        module = types.ModuleType("lab_factories")
        module.make = function
        monkeypatch.setitem(sys.modules, "lab_factories", module)
        return FactoryConfig("lab_factories:make")

    return make


def load(config, **fields):
    return load_dataset(config, 5, TASK, QUERIES, "lab")


class Rows:
    """A dataset that draws when a row is read."""

    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 9

    def __getitem__(self, row):
        return X[row] + torch.as_tensor(self.draw(), dtype=torch.float32), Y[row]


@pytest.mark.parametrize(
    "train",
    [
        (X.tolist(), Y.tolist()),
        [X.tolist(), Y.tolist()],
        (list(X), list(Y)),
        [X.numpy(), Y.numpy()],
    ],
    ids=["tuple of lists", "list of lists", "lists of tensors", "list of arrays"],
)
def test_pair_of_lists(train):
    torch.testing.assert_close(arrays(train).x_train, X)
    assert torch.equal(arrays(train).y_train, Y)


def test_two_rows_in_a_list_are_rows():
    pair = arrays([(X[0].tolist(), 1), (X[1].tolist(), 2)])
    assert pair.x_train.shape == (2, 4)
    assert pair.y_train.tolist() == [1, 2]


@pytest.mark.parametrize("rows", [False, True], ids=["arrays", "rows"])
def test_dict_of_arrays(rows):
    given = {"x": X, "y": Y}
    train = [{"x": x, "y": y} for x, y in zip(X, Y, strict=True)] if rows else given
    assert torch.equal(arrays(train).x_train, X)
    other = (
        [{"image": x, "caption": y} for x, y in zip(X, Y, strict=True)]
        if rows
        else {"image": X, "caption": Y}
    )
    with pytest.raises(UserError, match=r"setting lab: train: .*\(x, y\).* has image, caption"):
        arrays(other)


@pytest.mark.parametrize(
    "x",
    [X.to_sparse(), X.to_sparse_csr(), sparse.csr_matrix(X.numpy()), sparse.coo_array(X.numpy()), X.double()],
    ids=["coo", "csr", "scipy matrix", "scipy array", "double"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_tensor(x):
    torch.testing.assert_close(arrays((x, Y)).x_train, X)


def test_values_that_are_hidden_or_too_large_are_refused():
    masked = np.ma.masked_array(X.numpy(), mask=np.arange(36).reshape(9, 4) == 5)
    with pytest.raises(UserError, match="some of its values are masked"):
        arrays((masked, Y))
    large = X.double().clone()
    large[4, 1] = 1e60
    with pytest.raises(UserError, match=r"infinite numbers in 1 rows \(first: 4\)"):
        arrays((large, Y))


@pytest.mark.parametrize("names", [list(np.arange(3)), [0, 1, 2], np.arange(3), ("0", np.str_("1"), 2)])
def test_class_names_numbers(factory, names):
    config = factory(lambda: Split((X, Y), (X, Y), class_names=names))
    assert load(config)[0].class_names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        *[((12,), shape) for shape in ((3, 4), (3, 2, 2), (2, 2, 3), (1, 3, 4), (3, 4, 1))],
        *[((3, 2, 2), (3, 2, 2)), ((1, 3, 4), (3, 4)), ((3, 4), (1, 3, 4)), ((2, 3, 4), (2, 3, 4))],
    ],
)
def test_image_shapes_of_all_layouts(factory, row, shape):
    x = torch.rand(len(X), *row)
    assert load(factory(lambda: Split((x, Y), (x, Y), image_shape=shape)))[0].image_shape == shape


def test_an_image_shape_of_another_layout_than_the_rows_is_refused(factory):
    x = torch.rand(len(X), 3, 2, 5)
    with pytest.raises(
        UserError, match=r"image_shape is \(2, 5, 3\), but a row of x has the shape \(3, 2, 5\)"
    ):
        load(factory(lambda: Split((x, Y), (x, Y), image_shape=(2, 5, 3))))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_names": "abc"}, "class_names must be a list with one name per label, not a str"),
        ({"class_names": {0: "a", 1: "b", 2: "c"}}, "class_names must be a list .* not a dict"),
        ({"class_names": ["a", None, "c"]}, "the name of label 1 in class_names is a NoneType"),
        ({"image_shape": (2, 3)}, r"image_shape \(2, 3\) has 6 elements, but a row of x has 4"),
        ({"image_shape": (2, 2, 5)}, r"image_shape is \(2, 2, 5\); give \(height, width\), \(channels"),
        ({"image_shape": 4}, "image_shape is 4; give"),
        ({"image_shape": (2.5, 2)}, "image_shape is .*; give"),
    ],
)
def test_class_names_numbers_and_image_shape_are_checked_by_the_data_step(factory, fields, message):
    with pytest.raises(UserError, match=f"setting lab: {message}"):
        load(factory(lambda: Split((X, Y), (X, Y), **fields)))


GLOBAL = pytest.mark.parametrize(
    "draw",
    [random.random, lambda: np.random.rand(4), lambda: torch.randn(4), lambda: random.gauss(0, 1)],  # noqa: NPY002
    ids=["random", "numpy", "torch", "gauss"],
)


@GLOBAL
def test_random_data_is_seeded(factory, draw):
    def make():
        return Split((X + torch.as_tensor(draw(), dtype=torch.float32), Y), (X, Y))

    states = random.getstate(), torch.get_rng_state()
    first = load(factory(make))[1]
    assert random.getstate() == states[0], "the caller's generators keep their states"
    assert torch.equal(torch.get_rng_state(), states[1])
    random.seed(7)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert torch.equal(load(factory(make))[1].x_train, first.x_train)


@GLOBAL
def test_rows_that_draw_when_they_are_read_are_refused(factory, draw):
    with pytest.raises(UserError, match=r"setting lab: train row 0 differs between two reads.*augment"):
        load(factory(lambda: Split(Rows(draw), (X, Y))))


COUNT = itertools.count()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: np.random.default_rng().normal(size=4),
        lambda: random.SystemRandom().random(),
        lambda: random.Random().random(),  # noqa: S311
        lambda: uuid.uuid4().int % 1000 / 1000,
        lambda: next(COUNT),
    ],
    ids=["default_rng", "system", "own", "uuid", "counter"],
)
def test_random_data_of_other_sources_is_refused(factory, draw):
    with pytest.raises(
        UserError, match=r"'lab_factories:make' gives other data each time.*train x.*fix the seed"
    ):
        load(factory(lambda: Split((X + torch.as_tensor(draw(), dtype=torch.float32), Y), (X, Y))))


def test_random_branch_in_forward_and_random_numbers_of_a_model_factory_are_seeded(factory):
    config = factory(lambda: torch.nn.Linear(4, random.choice([1, 2, 3, 4, 5]) + int(np.random.rand() * 9)))  # noqa: NPY002, S311
    widths = {build_model(config, 3).out_features for _ in range(8)}
    assert len(widths) == 1
    assert len({build_model(config, seed).out_features for seed in range(8)}) > 1


def test_query_class_unknown_to_training_label_noise_stays_among_the_labels_that_occur():
    y = torch.tensor([0, 5, 9]).repeat(9)
    noisy, mask = flip_labels(y, 0.9, 0)
    assert set(noisy.tolist()) <= {0, 5, 9}
    assert bool((noisy[mask] != y[mask]).all())
    assert int(mask.sum()) == 24


class Fixed:
    """A member's values, the same at each checkpoint."""

    def __init__(self, train, query):
        self.train, self.query = train, query

    def at(self, checkpoint):
        return self


@pytest.mark.parametrize("largest", [2, 4], ids=["known", "unknown"])
def test_query_class_unknown_to_training_is_scored(largest):
    generator = torch.Generator().manual_seed(1)
    train, query = torch.randn(30, 5, generator=generator), torch.randn(4, 5, generator=generator)
    data = SimpleNamespace(y_train=torch.arange(30) % 3, y_query=torch.tensor([0, 1, 2, largest]))
    representations = Fixed(train, query)
    scores = rps.attribute(data, representations, Workspace())
    logits = torch.from_numpy(rps_oracle(train, data.y_train, largest + 1, query)).gather(
        1, data.y_query[:, None]
    )
    torch.testing.assert_close(scores.sum(1), logits[:, 0].float(), rtol=1e-3, atol=1e-4)

    outputs = Fixed(torch.randn(30, 5, generator=generator), torch.randn(4, 5, generator=generator))
    found = dualda.attribute(data, representations, outputs, Workspace())
    assert bool(found["scores"].isfinite().all())
    assert found["duals"].shape[1] == largest + 1
    masks = torch.rand(12, 30, generator=generator) > 0.5
    retrainings = SimpleNamespace(masks=masks, targets=torch.randn(12, 4, generator=generator))
    embedded = airrep.attribute(data, representations, retrainings, steps=3)
    assert bool(embedded["scores"].isfinite().all())
    assert float(embedded["query"][3].abs().max()) < 10 * float(embedded["train"].abs().max())


def rps_oracle(train, y, n_classes, query, lam=0.003):
    """Return the logits of the layer at the minimum of the documented objective, by LBFGS in double precision."""
    h = torch.cat([train, torch.ones(len(train), 1)], 1).double()
    layer = torch.zeros(h.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([layer], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(h @ layer, y) + lam * (layer**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (torch.cat([query, torch.ones(len(query), 1)], 1).double() @ layer).detach().numpy()


def test_random_data_that_a_module_keeps_differ_in_another_process(tmp_path, monkeypatch):
    text = """import numpy as np
from proponent.settings import Split
X = np.random.default_rng().normal(size=(9, 4))
def make(): return Split((X, np.arange(9) % 3), (X, np.arange(9) % 3))
"""
    (tmp_path / "kept_data.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    config = FactoryConfig("kept_data:make")
    elsewhere = in_fork(lambda: dataset_digests(config, 5, TASK, QUERIES, "lab"))
    here = load(config)[1]
    with pytest.raises(UserError, match=r"gives other data each time.*train x"):
        refuse_other_data(config, digests_of(here), elsewhere, "lab")
