"""Gradients, curvature and representations of a network with several inputs are those of plain autograd."""

from __future__ import annotations

import pytest
import torch

from features.models import target_gradients
from features.named_models import Packed, build, rows
from oracles.curvature import dense_ggn, dense_hessian
from oracles.gradients import gradients_by_loop
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.capture import Capture
from proponent.features.gradients.serialise import from_tensors, to_tensors
from proponent.features.member_features import featurize, read_representations
from proponent.features.views import CheckpointTimes
from proponent.rows import named_tensors
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification

TASK = Classification()
WAYS = pytest.mark.parametrize("positional", [False, True], ids=["by keyword", "by position"])


@WAYS
def test_gradients_are_those_of_each_example_alone(positional):
    module, (x, packed, y) = build(0), rows(7, positional=positional)
    block, outputs = target_gradients(module, TASK, x, y)
    expected = gradients_by_loop(Packed(module), TASK.target, packed, y)
    torch.testing.assert_close(block.dense(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(outputs, Packed(module)(packed), rtol=1e-10, atol=1e-12)


@WAYS
def test_stored_gradients_refer_to_inputs_by_name(positional):
    module, (x, _, y) = build(0), rows(7, positional=positional)
    block, _ = target_gradients(module, TASK, x, y)
    stored, layout = to_tensors(block)
    pointers = {value.data_ptr() for value in named_tensors(x).values()}
    assert not pointers & {value.data_ptr() for value in stored.values()}
    again = from_tensors(layout, stored.__getitem__, x)
    assert torch.equal(again.dense(), block.dense())
    factors = [term[side] for part in layout["parts"] for term in part.get("terms", []) for side in term]
    taken = {factor["input"] for factor in factors if isinstance(factor, dict) and "input" in factor}
    assert taken == ({"x0", "x1", "x2"} if positional else {"image", "table", "tokens"})


@WAYS
def test_curvature_is_that_of_the_dense_formulas(positional):
    module, (x, packed, y) = build(0), rows(6, positional=positional)
    found = Curvature(module, TASK, x, y, x[:2], y[:2], weight_decay=0.0, duration=1.0)
    ggn = dense_ggn(Packed(module), TASK.loss, packed, y)
    vectors = torch.randn(3, len(ggn), dtype=torch.float64)
    torch.testing.assert_close(found.ggn_product(vectors), vectors @ ggn, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.ggn(), ggn, rtol=1e-9, atol=1e-11)
    hessian = dense_hessian(Packed(module), TASK.loss, packed, y)
    torch.testing.assert_close(found.hessian_product(vectors), vectors @ hessian, rtol=1e-9, atol=1e-11)
    assert found.dropped(0.3, 0).train.size == 6
    assert found.adapted(1, 1, 1e-3, 0).train.size == 6


def test_a_representation_that_is_an_input_is_not_stored_again():
    class Head(torch.nn.Linear):
        def forward(self, table, unused):
            """Return the outputs for the table alone."""
            return super().forward(table)

    x, _, y = rows(5, positional=True)
    x.tensors = {"x0": x.tensors["x1"].float(), "x1": x.tensors["x0"].float()}
    module, data = Head(2, 3), Arrays(x, y, x[:2], y[:2])
    state = module.state_dict()
    tensors, described = featurize("representations", module, lambda _: state, 1, TASK, data, memory_mib=100)
    assert tensors == {}
    times = CheckpointTimes([1], [0.1], [1.0])
    pair = read_representations(described, tensors.__getitem__, data, 0, times).at(1.0)
    assert torch.equal(pair.train, x.tensors["x0"])
    assert torch.equal(pair.query, x.tensors["x0"][:2])


def test_a_chunk_of_examples_counts_all_inputs():
    module, (x, _, _) = build(0), rows(5, positional=False)
    few = Capture(module, x[:1]).chunk_size(x, 1)
    x.tensors["image"] = x.tensors["image"].new_zeros(5, 3, 4000)
    assert Capture(build(0), rows(1, positional=False)[0]).chunk_size(x, 1) < few
