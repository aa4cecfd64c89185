"""Features on disk: found by a later process, and never used when they are stale or broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

import proponent
from proponent.features.gradients.capture import Capture
from proponent.notes import Note
from proponent.trained import live_member
from proponent.trained.given_task import given_task
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
