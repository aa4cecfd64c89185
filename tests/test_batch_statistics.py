"""Batch normalisation by the kept examples of a batch is torch's own on a batch of these examples alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from proponent.batch_statistics import running_statistics, statistics_of
from proponent.errors import UserError

ROWS, CHANNELS = 7, 3
KEPT = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])


def tensors(shape, dtype):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draws).to(dtype)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    scale, bias, mean = (torch.randn(CHANNELS, generator=draws).to(wide) for _ in range(3))
    return x, scale, bias, mean, torch.rand(CHANNELS, generator=draws).to(wide)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(
    ("shape", "rows"), [((ROWS, CHANNELS), 1), ((ROWS, CHANNELS, 2, 4), 1), ((2 * ROWS, CHANNELS), 2)]
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_left_out_examples_are_in_no_statistics(dtype, tolerance, shape, rows, tracked, affine):
    x, scale, bias, mean, variance = tensors(shape, dtype)
    kept = KEPT.bool().repeat_interleave(rows)
    own = {"weight": scale, "bias": bias} if affine else {}
    found, expected = ([mean.clone(), variance.clone()] if tracked else [None, None] for _ in range(2))
    given, alone = x.clone().requires_grad_(), x[kept].clone().requires_grad_()
    with statistics_of(KEPT):
        outputs = F.batch_norm(given, *found, **own, training=True, momentum=0.3, eps=1e-3)
    ordinary = F.batch_norm(alone, *expected, **own, training=True, momentum=0.3, eps=1e-3)
    assert outputs.dtype == dtype
    torch.testing.assert_close(outputs[kept], ordinary, rtol=tolerance, atol=tolerance)
    outputs[kept].square().sum().backward()
    ordinary.square().sum().backward()
    torch.testing.assert_close(given.grad[kept], alone.grad, rtol=tolerance, atol=10 * tolerance)
    assert not given.grad[~kept].any()
    if tracked:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kept", [0, 1])
def test_fewer_than_two_values_leave_the_running_statistics(kept):
    x, scale, bias, mean, variance = tensors((ROWS, CHANNELS), torch.float64)
    found = [mean.clone(), variance.clone()]
    with statistics_of((torch.arange(ROWS) < kept).float()):
        outputs = F.batch_norm(x, *found, scale, bias, training=True)
    assert outputs.isfinite().all()
    assert torch.equal(found[0], mean) and torch.equal(found[1], variance)
    if kept:
        torch.testing.assert_close(outputs[0], bias)


def test_rows_that_are_not_examples_are_refused():
    with statistics_of(KEPT), pytest.raises(UserError, match="of 8 rows for 7 examples"):
        F.batch_norm(torch.ones(8, CHANNELS), None, None, training=True)


def test_running_statistics_treat_examples_alone():
    x, scale, bias, mean, variance = tensors((ROWS, CHANNELS), torch.float64)
    expected = F.batch_norm(x, mean, variance, scale, bias, training=False)
    with running_statistics():
        found = F.batch_norm(x, mean, variance, scale, bias, training=True)
        plain = F.batch_norm(x, None, None, training=True, eps=0.0)
    assert torch.equal(found, expected)
    torch.testing.assert_close(plain, x)
