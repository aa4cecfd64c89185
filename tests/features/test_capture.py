"""Factored gradients against the gradient of each example alone, for every kind of layer."""

# ruff: noqa: D101
from __future__ import annotations

import pytest
import torch
from torch import nn

from features.models import CLASSES, MODELS, build, target_gradients
from oracles.gradients import gradients_by_loop, gradients_by_vmap
from proponent.errors import UserError
from proponent.features.gradients.agreement import _first_disagreement
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.gradients.per_parameter import WeightPart
from proponent.features.gradients.serialise import to_tensors
from proponent.settings.tasks import Classification

TASK = Classification()


@pytest.mark.parametrize("name", MODELS)
def test_written_out_factors_are_the_gradients_of_each_example(name):
    module, x, y = build(name, 7)
    block, outputs = target_gradients(module, TASK, x, y)
    expected = gradients_by_loop(module, TASK.target, x, y)
    torch.testing.assert_close(block.dense(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(outputs, module.eval()(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_inner_products_are_those_of_the_written_out_gradients(name):
    module, x, y = build(name, 9)
    rows = gradients_by_loop(module, TASK.target, x, y)
    block, _ = target_gradients(module, TASK, x, y)
    few, _ = target_gradients(module, TASK, x[:4], y[:4])
    torch.testing.assert_close(block.inner(few), rows @ rows[:4].T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(block.inner(block), rows @ rows.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(block.norms_squared(), rows.square().sum(1), rtol=1e-10, atol=1e-12)
    vectors = torch.randn(3, rows.shape[1], dtype=torch.float64)
    torch.testing.assert_close(block.inner_dense(vectors), rows @ vectors.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "conv2d", "tied", "by-hand", "batch-norm"])
def test_both_oracles_agree(name):
    module, x, y = build(name, 5)
    by_loop, by_vmap = (g(module, TASK.target, x, y) for g in (gradients_by_loop, gradients_by_vmap))
    torch.testing.assert_close(by_loop, by_vmap, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["mlp", "conv2d", "attention", "cross-attention", "tied", "tied-rows", "shared"]
)
def test_large_weights_stay_factored(name):
    """Written-out gradients are those of small parameters: norms, positions, tokens, biases of shared weights."""
    module, x, y = build(name, 3)
    block, _ = target_gradients(module, TASK, x, y)
    factored = {part.name for part in block.parts if isinstance(part, WeightPart)}
    matrices = {n for n, p in module.named_parameters() if p.ndim > 1 and n not in ("positions", "memory")}
    unused = {"readout.weight"} if name == "tied-rows" else set()
    assert matrices - unused == factored


def all_outputs(outputs, y):
    """Cotangents for the gradient of each output."""
    return torch.eye(CLASSES, dtype=outputs.dtype).expand(len(outputs), -1, -1)


def test_several_cotangents_per_example_give_several_gradients():
    module, x, y = build("encoder-layer", 4)
    block, _ = Capture(module, x[:1]).all_gradients(x, y, all_outputs)
    for c in range(CLASSES):
        expected = gradients_by_loop(module, lambda out, _, c=c: out[:, c], x, y)
        torch.testing.assert_close(block.dense()[c::CLASSES], expected, rtol=1e-10, atol=1e-12)


class TwoLayersOnOneInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(50, CLASSES), nn.Linear(50, CLASSES)

    def forward(self, x):
        return self.one(x) + self.other(x).tanh()


def test_an_input_of_several_layers_is_repeated_once_for_all_of_them():
    module, x = TwoLayersOnOneInput(), torch.randn(6, 50)
    capture = Capture(module, x[:1])
    block, _ = capture.all_gradients(x, torch.zeros(6), all_outputs)
    tensors, _ = to_tensors(block)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert numbers == 6 * CLASSES * capture.numbers_per_root_row(x) == 6 * CLASSES * (2 * CLASSES + 50)


def test_several_gradients_per_example_take_fewer_examples_at_a_time():
    module, x, y = build("mlp", 10)
    capture = Capture(module, x[:1])
    capture.chunk_size = lambda x, memory_mib, repeats: 5 * CLASSES // repeats
    assert [rows for rows, *_ in capture.chunks(x, y, all_outputs, 1)] == [slice(0, 5), slice(5, 10)]


def test_chunks_of_any_size_give_the_same_gradients():
    module, x, y = build("conv2d", 10)
    capture = Capture(module, x[:1])
    capture.chunk_size = lambda *_: 3
    in_chunks, _ = capture.all_gradients(x, y, target_cotangents(TASK))
    at_once, _ = target_gradients(module, TASK, x, y)
    torch.testing.assert_close(in_chunks.dense(), at_once.dense())


def test_memory_bounds_the_chunk():
    module, x, _ = build("conv2d", 10)
    capture = Capture(module, x[:1])
    assert capture.chunk_size(x, 1) * 2 <= capture.chunk_size(x, 2) + 1
    assert capture.chunk_size(x.expand(10, -1, -1, -1), 0) == 1


def test_the_module_is_left_as_it_was():
    module, x, y = build("inplace-relu", 4)
    module.train()
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    target_gradients(module, TASK, x, y)
    assert [part.training for part in module] == [True, True, False, True]
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_only_trainable_parameters_count():
    module, x, y = build("mlp", 4)
    module[1].weight.requires_grad_(False)
    block, _ = target_gradients(module, TASK, x, y)
    assert list(block.parameters) == ["1.bias", "3.weight", "3.bias"]
    torch.testing.assert_close(block.dense(), gradients_by_loop(module, TASK.target, x, y))


def test_the_input_of_the_first_layer_is_the_data_itself():
    module, x, y = build("mlp", 4)
    block, _ = target_gradients(module, TASK, x, y)
    assert set(to_tensors(block)[0]) == {"0.0.left", "1.0.left", "1.0.right"}
    assert block.parts[0].terms[0].right.values.data_ptr() == x.data_ptr()


class BatchMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x - x.mean(0))


class LargeBatchMean(nn.Module):
    """Mixes the examples of batches of more than four."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x - x.mean(0) if len(x) > 4 else x)


class SquareRoot(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x.sqrt())


class Greedy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x.mul_(2))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else self.linear(-x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
            "batch normalisation without running statistics uses the statistics of the batch",
        ),
        (BatchMean(), r"the model \(BatchMean\) mixes the examples of a batch"),
        (Greedy(), r"the model \(Greedy\) changes its input in place"),
        (Branching(), r"the model \(Branching\) cannot be run one example at a time.*use torch.where"),
        (nn.LSTM(4, 3), "the model returns tuple"),
        (nn.Linear(4, 3).requires_grad_(False), "no trainable parameter"),
        (nn.Sequential(nn.Linear(4, 3), nn.Flatten(0)), r"the model returns outputs of shape \(3,\)"),
    ],
)
def test_models_that_cannot_be_expressed_are_refused_by_name(module, message):
    x, y = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    with pytest.raises(UserError, match=message):
        target_gradients(module, TASK, x, y)


def _in_chunks(module, x, size):
    capture, cotangents = Capture(module, x[:1]), target_cotangents(TASK)
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        capture.gradients(rows, torch.zeros(len(rows), dtype=torch.long), cotangents)


def test_examples_that_affect_each_other_in_large_batches_only_are_refused():
    """A capture compares a batch with its examples alone until it has seen one as large."""
    x = torch.randn(24, 4)
    _in_chunks(LargeBatchMean(), x, 4)
    capture, cotangents = Capture(LargeBatchMean(), x[:1]), target_cotangents(TASK)
    capture.gradients(x[:3], torch.zeros(3, dtype=torch.long), cotangents)
    with pytest.raises(UserError, match=r"the model \(LargeBatchMean\) mixes the examples of a batch"):
        capture.gradients(x[:8], torch.zeros(8, dtype=torch.long), cotangents)


def test_outputs_that_are_not_finite_are_refused_in_every_chunk():
    x = torch.rand(24, 4)
    _in_chunks(SquareRoot(), x, 8)
    x[20] = -1.0
    with pytest.raises(UserError, match="NaN or infinite"):
        _in_chunks(SquareRoot(), x, 8)


def test_a_model_runs_once_for_outputs_and_gradients():
    """Outputs are those of the pass whose derivatives are taken; batches together are one more pass for the first chunk."""
    module, x, y = build("mlp", 12)
    capture, passes = Capture(module, x[:1]), []
    module[0].register_forward_pre_hook(lambda *_: passes.append(1))
    for start in (0, 4, 8):
        capture.gradients(x[start : start + 4], y[start : start + 4], target_cotangents(TASK))
    assert len(passes) == 4


def test_embeddings_that_change_or_rescale_are_refused():
    ids, y = torch.randint(0, 5, (3, 2)), torch.zeros(3, dtype=torch.long)
    for options, message in (
        ({"max_norm": 1.0}, "max_norm"),
        ({"scale_grad_by_freq": True}, "scale_grad_by_freq"),
    ):
        module = nn.Sequential(nn.Embedding(5, 4, **options), nn.Flatten(), nn.Linear(8, CLASSES))
        with pytest.raises(UserError, match=message):
            target_gradients(module, TASK, ids, y)


def test_units_at_their_kink_have_other_gradients_by_rounding_and_are_captured():
    """The ReLUs' inputs are 0 up to rounding for example 8, so that some are positive in one of two passes."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(500, 256), nn.ReLU(), nn.Linear(256, 3))
    x, y = torch.randn(16, 500), torch.arange(16) % 3
    with torch.no_grad():
        module[0].bias.sub_(module[0](x[8:9])[0])
    capture, cotangents = Capture(module, x[:1]), target_cotangents(TASK)
    found = _first_disagreement(capture, x[[0, 8, 15]], y[[0, 8, 15]], cotangents)
    assert found is not None and found[:2] == (1, "0.weight")
    block, _ = capture.all_gradients(x, y, cotangents)
    assert len(block) == 16
