"""Features on disk: found by a later process, and never used when they are stale or broken."""

from __future__ import annotations

import abc
import copy
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import proponent
from proponent.features.gradients.capture import Capture
from proponent.notes import Note
from proponent.trained import live_member
from proponent.trained.factorisation_cache import FactorisationCache
from proponent.trained.given_task import given_task
from proponent.trained.model_description import described_model
from proponent.trained.packed_values import NotPackable, pack, unpack
from proponent.trained.task_description import described

X, Y = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
QUERIES = (X[:4] + 0.1, Y[:4])


def net(seed: int = 0, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), activation(), nn.Linear(5, 3))


class Scaled(nn.Module):
    """A model whose forward pass is not told by its repr."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.net = net()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.net(x)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Numbers of the training examples of which features are computed."""
    found: list[int] = []
    for name in ("gradients_in_form", "outputs", "representations"):
        original = getattr(live_member, name)

        def counted(capture: Capture, *given, original=original, **named):
            x = given[1] if callable(given[0]) else given[0]
            found.append(len(x))
            return original(capture, *given, **named)

        monkeypatch.setattr(live_member, name, counted)
    return found


@pytest.mark.parametrize("method", ["graddot", "trak", "dualda", "knn-shapley"])
def test_a_later_attributor_computes_only_the_queries(tmp_path, passes, method):
    expected = proponent.Attributor(method, net(), (X, Y)).attribute(QUERIES)
    first = proponent.Attributor(method, net(), (X, Y), cache=tmp_path / "new").attribute(QUERIES)
    assert 50 in passes
    passes.clear()
    again = proponent.Attributor(method, net(), (X, Y), cache=tmp_path / "new").attribute(QUERIES)
    assert 50 not in passes
    assert torch.equal(first, expected)
    torch.testing.assert_close(again, expected)


def test_projected_gradients_are_kept_too(tmp_path, passes):
    hidden = nn.Linear(6, 400), nn.Tanh(), nn.Linear(400, 400), nn.Tanh()
    wide = nn.Sequential(*hidden, nn.Linear(400, 3))
    data = (X.repeat(20, 1), Y.repeat(20))
    with pytest.warns(
        Note, match="gradients are projected to 512 dimensions, .*: exact ones exceed memory_mib"
    ):
        whole = [
            proponent.Attributor("graddot", wide, data, cache=tmp_path, memory_mib=8).attribute(QUERIES)
            for _ in range(2)
        ]
    assert passes.count(1000) == 1
    torch.testing.assert_close(*whole)


@pytest.mark.parametrize(
    "other",
    [
        lambda cache: proponent.Attributor("graddot", net(1), (X, Y), cache=cache),
        lambda cache: proponent.Attributor("graddot", net(0, nn.ReLU), (X, Y), cache=cache),
        lambda cache: proponent.Attributor("graddot", net(), (X, Y.flip(0)), cache=cache),
        lambda cache: proponent.Attributor("graddot", net(), (X + 1, Y), cache=cache),
        lambda cache: proponent.Attributor("graddot", net().double(), (X, Y), cache=cache),
    ],
    ids=["parameters", "architecture", "labels", "inputs", "type"],
)
def test_what_changes_the_features_makes_them_again(tmp_path, passes, other):
    proponent.Attributor("graddot", net(), (X, Y), cache=tmp_path).attribute(QUERIES)
    passes.clear()
    found = other(tmp_path).attribute(QUERIES)
    assert 50 in passes
    torch.testing.assert_close(found, other(None).attribute(QUERIES))


def test_code_that_no_key_contains_is_noticed(tmp_path):
    for factor in (1.0, 2.0):
        found, expected = (
            proponent.Attributor("graddot", Scaled(factor), (X, Y), cache=cache).attribute(QUERIES)
            for cache in (tmp_path, None)
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("damage", ["truncated", "removed", "manifest", "other bytes"])
def test_a_damaged_file_is_made_again(tmp_path, passes, damage):
    expected = proponent.Attributor("graddot", net(), (X, Y), cache=tmp_path).attribute(QUERIES)
    (path,) = tmp_path.glob("gradients-*.safetensors")
    whole, manifest = path.read_bytes(), path.with_name(f"{path.name}.manifest.json")
    if damage == "truncated":
        path.write_bytes(whole[:-100])
    elif damage == "removed":
        path.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:50])
    else:
        path.write_bytes(b"x" * len(whole))
    passes.clear()
    again = proponent.Attributor("graddot", net(), (X, Y), cache=tmp_path).attribute(QUERIES)
    torch.testing.assert_close(again, expected)
    assert 50 in passes
    assert path.read_bytes() == whole
    recorded = json.loads(manifest.read_text())
    assert recorded["size"] == len(whole)
    assert recorded["versions"]["torch"] == torch.__version__


class OfClasses:
    """A task whose losses are larger for one class; the first training examples do not tell how much."""

    def __init__(
        self, factor: float = 1.0, weigh: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        self.factor, self.weigh = factor, weigh

    def loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weight = torch.where(y == 2, self.factor, 1.0) if self.weigh is None else self.weigh(y)
        return weight * nn.functional.cross_entropy(outputs, y, reduction="none")

    def target(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -nn.functional.cross_entropy(outputs, y, reduction="none")


class OfAnotherClass(OfClasses):
    """The same with a loss of its own."""

    def loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return super().loss(outputs, y) * torch.where(y == 2, 3.0, 1.0)


def above(limit: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda y: torch.where(y > limit, 3.0, 1.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"class_weights": [1.0, 1.0, 2.0]}, {"class_weights": [1.0, 1.0, 5.0]}),
        (OfClasses(1.0), OfClasses(5.0)),
        (OfClasses(), OfAnotherClass()),
        (OfClasses(weigh=above(2)), OfClasses(weigh=above(1))),
    ],
    ids=["arguments", "values", "methods", "captured values"],
)
def test_a_task_that_differs_for_later_examples_makes_features_again(tmp_path, before, after):
    x, y = X, Y.sort().values
    before, after = (
        {"name": "classification", **task} if isinstance(task, dict) else task for task in (before, after)
    )
    proponent.Attributor("graddot", net(), (x, y), task=before, cache=tmp_path).attribute(QUERIES)
    found, expected = (
        proponent.Attributor("graddot", net(), (x, y), task=after, cache=cache).attribute(QUERIES)
        for cache in (tmp_path, None)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("task", ["huber", OfClasses(2.0, above(1)), OfAnotherClass])
def test_the_description_of_a_task_has_no_addresses(task):
    whole = json.dumps(described(given_task(task)[0]))
    assert whole == json.dumps(described(copy.deepcopy(given_task(task)[0])))
    assert "0x" not in whole


class Config:
    """A configuration that remembers its hash, as those of transformers do."""

    def __init__(self) -> None:
        self.width, self._original_object_hash = 4, hash("width")


class Described(nn.Module, abc.ABC):
    """A model with all kinds of attributes: some change its outputs, others are results of its last pass."""

    def __init__(self, seed: int = 0, **changed: Any) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.recurrent, self.head = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 3)
        self._scale, self.offset, self.names = 1.0, torch.zeros(3), {"a", "b", "c"}
        self.register_buffer("shift", torch.zeros(3), persistent=False)
        self.last, self.config, self._trainer = self.head.weight * 2, Config(), None
        for name, value in changed.items():
            setattr(self, name, value)

    @property
    def width(self) -> int:
        return self.head.in_features

    @functools.cached_property
    def doubled(self) -> int:
        return 2 * self.width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._scale * self.head(self.recurrent(x)[0][:, -1]) + self.offset + self.shift


@pytest.mark.slow
def test_the_description_of_a_model_is_that_of_every_process():
    """It has no addresses, and depends neither on the values of saved tensors nor on the order of a set."""
    whole = json.dumps(described_model(Described()))
    assert whole == json.dumps(described_model(Described(seed=1)))
    assert "0x" not in whole
    assert whole == json.dumps(described_model(Described(_trainer=object())))  # as Lightning leaves it
    code = f"""if True:
        import json, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_feature_cache import Described, described_model
        print(json.dumps(described_model(Described())))
    """
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert other.stdout.strip() == whole


@pytest.mark.parametrize(
    "changed",
    [{"_scale": 2.0}, {"offset": torch.ones(3)}, {"shift": torch.ones(3)}, {"names": {"a"}}],
    ids=["private", "tensor", "buffer that is not saved", "set"],
)
def test_values_outside_of_the_state_dict_are_described(changed):
    assert described_model(Described()) != described_model(Described(**changed))


def test_frozen_parameters_are_described():
    frozen = Described()
    frozen.head.requires_grad_(False)
    assert described_model(Described()) != described_model(frozen)


def data_of(n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    return X[:n], Y[:n]


@pytest.fixture
def found(monkeypatch) -> list[bool]:
    """Whether each factorisation that a method asked for was on disk."""
    answers: list[bool] = []
    original = FactorisationCache.find

    def spied(self, *given):
        value = original(self, *given)
        answers.append(value is not None)
        return value

    monkeypatch.setattr(FactorisationCache, "find", spied)
    return answers


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("trak", {}),
        ("trak", {"projection_dim": 8}),
        ("trak", {"projection_dim": 64}),
        ("ekfac", {}),
        ("kfac", {}),
        ("if-exact", {}),
        ("if-arnoldi", {"iterations": 20, "rank": 5}),
        ("dualda", {}),
        ("rps", {}),
    ],
)
def test_factorisations_are_found_by_a_later_attributor(tmp_path, found, method, params):
    expected = proponent.Attributor(method, net(), (X, Y), **params).attribute(QUERIES)
    first = proponent.Attributor(method, net(), (X, Y), cache=tmp_path, **params)
    torch.testing.assert_close(first.attribute(QUERIES), expected)
    assert found == [False]
    assert len(list(tmp_path.glob("factorisation-*.safetensors"))) == 1
    found.clear()
    later = proponent.Attributor(method, net(), (X, Y), cache=tmp_path, **params)
    torch.testing.assert_close(later.attribute(QUERIES), expected)
    torch.testing.assert_close(
        later.attribute((X[4:7], Y[4:7]))[:, 0], first.attribute((X[4:7], Y[4:7]))[:, 0]
    )
    assert set(found) == {True}


def test_the_example_space_of_a_wide_model_is_found(tmp_path, found):
    """More parameters than rows of the training set: the factor is that of a Gram matrix, with the rows themselves."""
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3))
    scores = [
        proponent.Attributor("if-exact", wide, data_of(20), cache=tmp_path).attribute(QUERIES)
        for _ in range(2)
    ]
    assert found == [False, True]
    torch.testing.assert_close(*scores)


def test_other_hyper_parameters_models_and_data_have_other_factorisations(tmp_path, found):
    for model, data, params in (
        (net(), (X, Y), {"damping": 1.0}),
        (net(), (X, Y), {"damping": 2.0}),
        (net(1), (X, Y), {"damping": 1.0}),
        (net(), (X, Y.flip(0)), {"damping": 1.0}),
    ):
        kept, new = (
            proponent.Attributor("trak", model, data, cache=cache, **params).attribute(QUERIES)
            for cache in (tmp_path, None)
        )
        torch.testing.assert_close(kept, new)
    assert found == [False] * 4


@pytest.mark.parametrize("damage", ["truncated", "manifest", "other bytes", "no manifest"])
def test_a_damaged_factorisation_is_made_again(tmp_path, found, damage):
    """A file without a manifest is what a process leaves that was killed between the two."""
    expected = proponent.Attributor("ekfac", net(), (X, Y), cache=tmp_path).attribute(QUERIES)
    (path,) = tmp_path.glob("factorisation-*.safetensors")
    whole, manifest = path.read_bytes(), path.with_name(f"{path.name}.manifest.json")
    if damage == "truncated":
        path.write_bytes(whole[:-100])
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:50])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        path.write_bytes(b"x" * len(whole))
    again = proponent.Attributor("ekfac", net(), (X, Y), cache=tmp_path).attribute(QUERIES)
    torch.testing.assert_close(again, expected)
    assert found == [False, False]
    assert path.read_bytes() == whole


def test_the_code_of_a_model_is_part_of_the_key(tmp_path):
    """The two models agree on the first examples, and on the values that they hold."""

    def model(late: str) -> nn.Module:
        class Late(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net()

            if late == "doubled":

                def forward(self, x: torch.Tensor) -> torch.Tensor:
                    return self.net(x) * torch.where(x[:, :1] > 1, 2.0, 1.0)
            else:

                def forward(self, x: torch.Tensor) -> torch.Tensor:
                    return self.net(x) * torch.where(x[:, :1] > 1, 3.0, 1.0)

        return Late()

    x = torch.where(torch.arange(50)[:, None] < 10, X.clamp_max(0.9), X)
    for late in ("doubled", "tripled"):
        kept, new = (
            proponent.Attributor("trak", model(late), (x, Y), cache=cache).attribute(QUERIES)
            for cache in (tmp_path, None)
        )
        torch.testing.assert_close(kept, new)


def test_functions_are_not_packed():
    with pytest.raises(NotPackable):
        pack([torch.ones(2), lambda value: value], 2)


def test_packed_values_come_back():
    shared = torch.arange(6.0)
    value = {"a": [shared, shared[2:4], (1, None, "b", 2.5)], 3: slice(1, None)}
    tensors, structure = pack(value, 2)
    again = unpack(json.loads(json.dumps(structure)), tensors.__getitem__, X[:2])
    assert again[3] == slice(1, None)
    assert again["a"][2] == (1, None, "b", 2.5)
    assert [part.tolist() for part in again["a"][:2]] == [list(range(6)), [2, 3]]
    with pytest.raises(ValueError, match="is not a module of this package"):
        unpack({"object": "os:system", "values": {}}, tensors.__getitem__, X[:2])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["trak", "if-cg"])
def test_the_compiler_of_torch_is_not_imported(tmp_path, method):
    """Its import takes longer than to open a cache and to score a query."""
    code = """if True:
        import sys, torch, proponent
        x, y = torch.eye(6), torch.arange(6) % 2
        proponent.Attributor(sys.argv[2], torch.nn.Linear(6, 2), (x, y), cache=sys.argv[1]).attribute((x[:1], y[:1]))
        assert "torch._dynamo" not in sys.modules
        import torch._dynamo
        assert torch.func.grad(lambda value: value.square().sum())(x).equal(2 * x)
        assert hasattr(torch._dynamo, "optimize")
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path), method], check=True)


@pytest.mark.slow
def test_what_needs_the_compiler_of_torch_during_a_derivative_gets_it():
    """Gradient checkpointing and a thread that compiles a model import it."""
    code = """if True:
        import sys, torch
        from torch.utils.checkpoint import checkpoint
        from proponent.torch_imports import without_compiler

        with without_compiler():
            assert "torch._dynamo" not in sys.modules
            assert checkpoint(torch.exp, torch.zeros(1, requires_grad=True), use_reentrant=False) == 1
        assert hasattr(torch._dynamo, "optimize")
    """
    subprocess.run([sys.executable, "-c", code], check=True)
