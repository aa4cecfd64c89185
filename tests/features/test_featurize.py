"""Features of one member: stored from its checkpoints, and read again."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save

from features.models import build
from oracles.curvature import dense_ggn
from oracles.gradients import gradients_by_loop
from proponent.errors import UserError
from proponent.features import gradient_forms as module_under_test
from proponent.features.gradients.capture import Capture
from proponent.features.member_features import (
    featurize,
    read_gradients,
    read_outputs,
    read_representations,
)
from proponent.features.member_network import NetworkReader
from proponent.features.representations import representations
from proponent.features.storage_choice import choose_storage
from proponent.features.views import CheckpointTimes, History
from proponent.notes import Note
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification

TASK = Classification()
TIMES = CheckpointTimes([10, 40], [0.2, 0.1], [2.0, 5.0])


def member(name="mlp"):
    """Return a module, the state dicts of two checkpoints, and data with 8 examples and 5 queries."""
    module, x, y = build(name, 13)
    states = [deepcopy(module.state_dict()), {k: 1.5 * v for k, v in module.state_dict().items()}]
    return module, states, Arrays(x[:8], y[:8], x[8:], y[8:])


def stored(kind, module, states, data, **options):
    tensors, description = featurize(
        kind, module, states.__getitem__, len(states), TASK, data, **{"memory_mib": 100, **options}
    )
    return load(save(tensors)).__getitem__, json.loads(json.dumps(description))


def at_checkpoint(module, state):
    module.load_state_dict(state)
    return module.eval()


@pytest.mark.parametrize("name", ["mlp", "conv2d", "tied", "cross-attention"])
def test_gradients_of_every_checkpoint_come_back_exactly(name):
    module, states, data = member(name)
    get, description = stored("gradients", module, states, data)
    assert description["choice"] == "factored"
    history = read_gradients(description, get, data, 3, TIMES, slice(2, 5))
    assert history.member == 3
    for pair, state, rate, duration in zip(history.along(), states, (0.2, 0.1), (2.0, 5.0), strict=True):
        at_checkpoint(module, state)
        train = gradients_by_loop(module, TASK.target, data.x_train, data.y_train)
        query = gradients_by_loop(module, TASK.target, data.x_query[2:], data.y_query[2:])
        torch.testing.assert_close(pair.query.inner(pair.train), query @ train.T, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(pair.gram(), train @ train.T, rtol=1e-10, atol=1e-12)
        weight = TASK.loss_weight(module(data.x_train), data.y_train)
        torch.testing.assert_close(pair.loss_weight, weight)
        assert (pair.learning_rate, pair.duration) == (rate, duration)
        assert pair.gram() is pair.gram()


def test_the_bytes_are_those_that_were_planned():
    module, states, data = member("mlp")
    tensors, description = featurize("gradients", module, states.__getitem__, 2, TASK, data, memory_mib=100)
    weights = 2 * 2 * len(data.y_train) * 8  # loss weights and loss curvatures of two checkpoints
    assert sum(tensor.nbytes for tensor in tensors.values()) == description["bytes"] + weights


def test_gradients_that_do_not_fit_are_projected(monkeypatch):
    module, states, data = member("mlp")
    monkeypatch.setattr("proponent.features.storage_choice.DIMS", (4096, 512))
    monkeypatch.setattr(
        module_under_test, "choose_storage", lambda rows, _, *rest: choose_storage(rows, 10**9, *rest)
    )
    get, description = stored("gradients", module, states, data, seed=7)
    assert (description["choice"], description["dim"]) == ("projected", 4096)
    history = read_gradients(description, get, data, 0, TIMES)
    for pair, state in zip(history.along(), states, strict=True):
        at_checkpoint(module, state)
        train = gradients_by_loop(module, TASK.target, data.x_train, data.y_train)
        query = gradients_by_loop(module, TASK.target, data.x_query, data.y_query)
        found, exact = pair.query.inner(pair.train), query @ train.T
        assert (found - exact).norm() < 0.1 * exact.norm()
        last = pair.query.last_layer().inner(pair.train.last_layer())
        torch.testing.assert_close(last, query[:, -18:] @ train[:, -18:].T)


def test_a_last_layer_that_does_not_fit_is_projected_too(monkeypatch):
    """Its inner products are the exact ones up to the noise of the projection, and the note does not except it."""
    module, states, data = member("mlp")
    monkeypatch.setattr("proponent.features.storage_choice.DIMS", (4096,))
    monkeypatch.setattr(
        module_under_test,
        "choose_storage",
        lambda rows, factored, last, *rest: choose_storage(rows, 10**9, 10**9, *rest),
    )
    get, description = stored("gradients", module, states, data, seed=7)
    with pytest.warns(Note, match=r"^gradients are projected to 4096 dimensions: exact ones exceed"):
        history = read_gradients(description, get, data, 0, TIMES)
    for pair, state in zip(history.along(), states, strict=True):
        at_checkpoint(module, state)
        train = gradients_by_loop(module, TASK.target, data.x_train, data.y_train)
        query = gradients_by_loop(module, TASK.target, data.x_query, data.y_query)
        for found, exact in (
            (pair.query.inner(pair.train), query @ train.T),
            (pair.query.last_layer().inner(pair.train.last_layer()), query[:, -18:] @ train[:, -18:].T),
        ):
            assert (found - exact).norm() < 0.1 * exact.norm()


def test_a_projection_is_computed_in_chunks_of_the_memory(monkeypatch):
    module, states, data = member("mlp")
    monkeypatch.setattr(
        module_under_test, "choose_storage", lambda rows, _, *rest: choose_storage(rows, 10**9, *rest)
    )
    whole, _ = stored("gradients", module, states, data)
    monkeypatch.setattr(Capture, "chunk_size", lambda *_: 3)
    pieces, _ = stored("gradients", module, states, data)
    torch.testing.assert_close(whole("1.train.values"), pieces("1.train.values"))


def test_outputs_and_representations_come_back():
    module, states, data = member("mlp")
    out = read_outputs(stored("outputs", module, states, data)[0], 0, TIMES, slice(0, 2)).at(1.0)
    get, description = stored("representations", module, states, data)
    inside = read_representations(description, get, data, 0, TIMES).at(0.25)
    at_checkpoint(module, states[1])
    torch.testing.assert_close(out.train, module(data.x_train))
    torch.testing.assert_close(out.query, module(data.x_query[:2]))
    torch.testing.assert_close(out.loss_weight, TASK.loss_weight(module(data.x_train), data.y_train))
    at_checkpoint(module, states[0])
    torch.testing.assert_close(inside.train, module[:3](data.x_train))
    torch.testing.assert_close(inside.query, module[:3](data.x_query))


def test_the_input_of_a_linear_model_is_not_stored_again_as_its_representation():
    module, states, data = member("linear")
    tensors, description = featurize(
        "representations", module, states.__getitem__, 2, TASK, data, memory_mib=100
    )
    assert tensors == {}
    pair = read_representations(description, tensors.__getitem__, data, 0, TIMES, slice(1, 3)).at(1.0)
    torch.testing.assert_close(pair.train, data.x_train)
    torch.testing.assert_close(pair.query, data.x_query[1:3])


@pytest.mark.parametrize("name", ["sequence", "conv2d", "attention", "tied", "tied-transpose", "weight-norm"])
def test_a_representation_is_the_mean_input_of_the_last_linear_map(name):
    module, x, _ = build(name, 5)
    seen = []
    last = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
    if name == "tied-transpose":
        last = module.layer
        last.register_forward_hook(lambda part, taken, given: seen.append(given))
    else:
        last.register_forward_hook(lambda part, taken, given: seen.append(taken[0]))
    found = representations(Capture(module, x[:1]), x)
    seen.clear()
    module.eval()(x)
    torch.testing.assert_close(found, seen[-1].reshape(5, -1, seen[-1].shape[-1]).mean(1))


def test_a_model_without_a_linear_layer_has_no_representations():
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2), torch.nn.Flatten())
    x = torch.randn(4, 2, 2)
    with pytest.raises(UserError, match="Sequential has no linear layer"):
        representations(Capture(module, x[:1]), x)


def test_the_network_of_a_member_has_the_curvature_of_its_checkpoint():
    module, states, data = member("mlp")
    history = NetworkReader(
        module,
        states.__getitem__,
        TASK,
        data,
        1,
        TIMES,
        weight_decay=0.1,
        memory_mib=100,
        query_rows=slice(1, 3),
    ).network()
    found = history.at(1.0)
    assert history.at(1.0) is found
    assert (found.weight_decay, found.duration, found.n_train) == (0.1, 5.0, 8)
    at_checkpoint(module, states[1])
    torch.testing.assert_close(found.ggn(), dense_ggn(module, TASK.loss, data.x_train, data.y_train))
    query = gradients_by_loop(module, TASK.target, data.x_query[1:3], data.y_query[1:3])
    torch.testing.assert_close(found.query.dense(), query)


@pytest.mark.parametrize(
    ("fraction", "index"),
    [(1.0, 4), (0.6, 3), (0.5, 3), (0.3, 2), (0.1, 1), (0.0625, 0), (0.001, 0), (0.36, 3), (0.35, 2)],
)
def test_a_checkpoint_is_the_nearest_in_ratio(fraction, index):
    assert CheckpointTimes([50, 100, 200, 400, 800], [], []).nearest(fraction) == index


def test_a_fraction_outside_training_is_refused():
    for fraction in (0.0, 1.5, -1):
        with pytest.raises(ValueError, match="a checkpoint is a fraction of training"):
            TIMES.nearest(fraction)


def test_only_the_latest_checkpoint_is_remembered():
    loaded = []
    history = History(0, TIMES, lambda index: loaded.append(index) or object())
    assert history.at(1.0) is history.at(1.0)
    history.at(0.25)
    history.at(1.0)
    assert loaded == [1, 0, 1]
    assert len(list(history.along())) == 2
