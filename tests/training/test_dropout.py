"""Drawn masks replace torch's dropout in every layer that calls it."""

from __future__ import annotations

import pytest
import torch
from numpy.random import PCG64
from torch import nn
from torch.nn import functional as F

from proponent.training.dropout import Draw, draw_masks, given_masks, recorded_draws


def test_masks_have_the_right_rate_and_scale_and_one_stream_per_model():
    draws = [Draw((4000,), 0.25, torch.float64), Draw((10,), 1.0, torch.float64)]
    masks, all_dropped = draw_masks(draws, [PCG64(seed) for seed in (0, 1, 0)])
    assert set(masks.flatten().tolist()) == {0.0, 1 / 0.75}
    assert (masks.mean(1) - 1).abs().max() < 0.05
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])
    assert not all_dropped.any()


@pytest.mark.parametrize(
    "layer, shape, mask_shape",
    [
        (nn.Dropout(0.5), (3, 4), (3, 4)),
        (nn.Dropout1d(0.5), (3, 4, 5), (3, 4, 1)),
        (nn.Dropout1d(0.5), (3, 4), (3, 1)),
        (nn.Dropout2d(0.5), (3, 4, 5, 6), (3, 4, 1, 1)),
        (nn.Dropout3d(0.5), (3, 4, 5, 6, 7), (3, 4, 1, 1, 1)),
        (nn.Dropout(0.5, inplace=True), (3, 4), (3, 4)),
    ],
)
def test_layers_take_the_masks_that_they_were_recorded_to_need(layer, shape, mask_shape):
    x = torch.rand(shape) + 1
    with recorded_draws() as draws:
        assert torch.equal(layer(x.clone()), x)
    assert draws == [Draw(mask_shape, 0.5, torch.float32)]
    mask = draw_masks(draws, [PCG64(3)])[0][0]
    with given_masks([mask]):
        assert torch.equal(layer(x.clone()), x * mask)
    # Torch's own dropout is also constant along the axes where the mask has size 1.
    own = layer(x.clone()) / x
    first = own[tuple(slice(0, size) for size in mask_shape)]
    assert torch.equal(first.expand(shape), own)


@pytest.mark.parametrize(
    ("layer", "shape", "mask_shape"),
    [
        (nn.AlphaDropout(0.3), (30, 20), (30, 20)),
        (nn.FeatureAlphaDropout(0.3), (30, 20, 3), (30, 20, 1)),
        (nn.AlphaDropout(1.0), (3, 4), (3, 4)),
    ],
)
def test_alpha_dropout_with_the_mask_of_torchs_own_pass_is_that_pass(layer, shape, mask_shape):
    x = torch.rand(shape, dtype=torch.float64) + 1
    own = layer(x.clone())
    with recorded_draws() as draws:
        layer(x)
    assert draws == [Draw(mask_shape, layer.p, torch.float64)]
    kept = (own > 0).double()[tuple(slice(0, size) for size in mask_shape)]
    with given_masks([kept / (1 - layer.p) if layer.p < 1 else kept]):
        torch.testing.assert_close(layer(x.clone()), own)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": "bool"}, {"attn_mask": "float"}]
)
def test_attention_with_a_mask_of_ones_is_attention_without_dropout(options):
    query, key, value = (torch.randn(2, 3, 5, 4, dtype=torch.float64) for _ in range(3))
    masks = {"bool": torch.rand(5, 5) < 0.8, "float": torch.randn(5, 5, dtype=torch.float64)}
    options = {name: masks.get(option, option) for name, option in options.items()}
    with recorded_draws() as draws:
        actual = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5, **options)
    assert draws == [Draw((2, 3, 5, 5), 0.5, torch.float64)]
    torch.testing.assert_close(
        actual, F.scaled_dot_product_attention(query, key, value, **options), equal_nan=True
    )


def test_grouped_attention_repeats_keys_and_values():
    query, key, value = torch.randn(2, 4, 5, 3), torch.randn(2, 2, 5, 3), torch.randn(2, 2, 5, 3)
    with recorded_draws():
        actual = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5, enable_gqa=True)
    torch.testing.assert_close(actual, F.scaled_dot_product_attention(query, key, value, enable_gqa=True))


def test_no_mask_is_drawn_in_evaluation_and_the_functions_are_restored():
    before = F.dropout, F.scaled_dot_product_attention
    with recorded_draws() as draws:
        nn.Dropout(0.5).eval()(torch.ones(3))
        nn.Dropout(0.0)(torch.ones(3))
    assert draws == []
    with pytest.raises(RuntimeError, match="dropout changes"), given_masks([]):
        nn.Dropout(0.5)(torch.ones(3))
    assert (F.dropout, F.scaled_dot_product_attention) == before
