"""Gradient blocks: slices, layers, storage, and large blocks cut into pieces."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from features.models import CLASSES, MODELS, build, target_gradients
from oracles.gradients import gradients_by_loop
from proponent.errors import UserError
from proponent.features.gradients import per_parameter as parts
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.settings.tasks import Classification

TASK = Classification()


def block_and_rows(name, n=7):
    module, x, y = build(name, n)
    return target_gradients(module, TASK, x, y)[0], gradients_by_loop(module, TASK.target, x, y), module, x


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_block_comes_back_the_same(name):
    block, rows, _, x = block_and_rows(name)
    tensors, layout = to_tensors(block)
    again = from_tensors(json.loads(json.dumps(layout)), tensors.__getitem__, x)
    torch.testing.assert_close(again.dense(), rows, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(again.inner(block), rows @ rows.T, rtol=1e-10, atol=1e-12)
    assert list(again.parameters) == list(block.parameters)
    assert to_tensors(again)[1] == layout


def test_a_stored_projection_comes_back_with_its_last_layer():
    block, _, _, x = block_and_rows("mlp")
    projected = block.project(16, "sparse", 1)
    tensors, layout = to_tensors(projected)
    again = from_tensors(json.loads(json.dumps(layout)), tensors.__getitem__, x)
    assert torch.equal(again.values, projected.values)
    torch.testing.assert_close(again.last_layer().dense(), block.last_layer().dense())
    torch.testing.assert_close(again.inner(projected), projected.values @ projected.values.T)


class Heads(nn.Module):
    """Three layers with the same hidden state as their input."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.heads = nn.ModuleList(nn.Linear(6, CLASSES) for _ in range(3))

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return sum(head(hidden) for head in self.heads)


def test_an_input_of_several_layers_is_stored_once():
    x, y = torch.randn(9, 4), torch.zeros(9, dtype=torch.long)
    capture = Capture(Heads(), x[:1])
    capture.chunk_size = lambda *_: 4
    block, _ = capture.all_gradients(x, y, target_cotangents(TASK))
    tensors, layout = to_tensors(block)
    assert (
        sum(tensor.shape == (9, 1, 6) for tensor in tensors.values()) == 2
    )  # one input, one output gradient
    again = from_tensors(layout, tensors.__getitem__, x)
    torch.testing.assert_close(again.dense(), block.dense())


@pytest.mark.parametrize("name", ["mlp", "conv2d", "tied", "by-hand", "shared"])
def test_slices_are_the_gradients_of_some_examples(name):
    block, rows, _, _ = block_and_rows(name)
    some = block.slice(slice(2, 5))
    assert len(some) == 3
    torch.testing.assert_close(some.dense(), rows[2:5], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(some.inner(block), rows[2:5] @ rows.T, rtol=1e-10, atol=1e-12)


def test_the_last_layer_is_the_last_linear_map():
    block, rows, module, _ = block_and_rows("mlp")
    last = block.last_layer()
    size = sum(p.numel() for p in module[-1].parameters())
    assert list(last.parameters) == ["3.weight", "3.bias"]
    torch.testing.assert_close(last.dense(), rows[:, -size:], rtol=1e-10, atol=1e-12)
    written = DenseGradients(rows, block.parameters, block.last)
    torch.testing.assert_close(written.last_layer().inner(last), last.dense() @ last.dense().T)


def test_a_computed_last_weight_has_no_last_layer():
    module = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, CLASSES)))
    block, _ = target_gradients(module, TASK, torch.randn(3, 4), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UserError, match="no last linear layer"):
        block.last_layer()
    with pytest.raises(UserError, match="stored without the gradients of the last linear layer"):
        block.project(8, "rademacher", 0).last_layer()


def test_written_out_and_factored_gradients_can_be_compared():
    block, rows, _, _ = block_and_rows("conv2d")
    written = DenseGradients(rows, block.parameters, block.last)
    torch.testing.assert_close(block.inner(written), rows @ rows.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(written.inner(block), rows @ rows.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(written.norms_squared(), block.norms_squared(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("elementwise", [0, 10**9])
def test_small_temporaries_and_either_way_of_comparing_change_nothing(name, elementwise, monkeypatch):
    """Pairs of positions and written-out gradients are both exact, in blocks of any size."""
    block, rows, _, _ = block_and_rows(name)
    monkeypatch.setattr(parts, "ELEMENTWISE", elementwise)
    monkeypatch.setattr(parts, "BLOCK_ROWS", 3)
    monkeypatch.setattr(parts, "TEMPORARY_MIB", 1e-4)
    monkeypatch.setattr(parts, "temporary", lambda dtype: 40)
    few = block.slice(slice(0, 4))
    torch.testing.assert_close(block.inner(few), rows @ rows[:4].T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(block.inner(block), rows @ rows.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(block.norms_squared(), rows.square().sum(1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(block.dense(), rows, rtol=1e-10, atol=1e-12)


def test_single_precision_is_exact_to_a_hundred_thousandth():
    module, x, y = build("mlp", 40)
    rows = gradients_by_loop(module, TASK.target, x, y)
    block, _ = target_gradients(module.float(), TASK, x.float(), y)
    exact = rows @ rows.T
    assert (block.inner(block).double() - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_joined_gradients_share_the_memory_of_the_data():
    """The input of a first layer is the data, of which blocks of examples hold no copy."""
    x, y = torch.randn(20, 6), torch.arange(20) % 3
    capture = Capture(nn.Linear(6, 3), x[:1])
    block, _ = capture.all_gradients(x, y, target_cotangents(TASK), memory_mib=0)
    (term,) = block.parts[0].terms
    assert term.right.values.data_ptr() == x.data_ptr()
    assert torch.equal(term.right.values.squeeze(1), x)
    whole, _ = capture.gradients(x, y, target_cotangents(TASK))
    torch.testing.assert_close(block.dense(), whole.dense())
