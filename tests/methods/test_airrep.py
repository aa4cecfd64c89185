"""AirRep: attention over a group by hand, recovery of a known embedding, and an LDS that uses group predictions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import spearmanr

from methods.fakes import Checkpoints, Retrainings
from proponent.methods.learned import airrep
from proponent.methods.shared.subset_attention import bounded_products, pair_loss
from proponent.metrics import lds
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.metric_inputs import Retrainings as Truth

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def by_hand(inner: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    kept = inner[:, mask]
    return (kept.abs().softmax(1) * kept).sum(1)


def test_groups_are_attention_weighted_means() -> None:
    stored = {"query": normal(3, 4), "train": normal(10, 4)}
    masks = torch.rand(5, 10, generator=GENERATOR) < 0.5
    masks[:, 0] = True
    expected = torch.stack([by_hand(bounded_products(stored), mask) for mask in masks])
    torch.testing.assert_close(airrep.group_scores(stored, masks), expected)


def test_the_effect_of_a_single_example_is_its_inner_product() -> None:
    stored = {"query": normal(3, 4), "train": normal(10, 4)}
    alone = airrep.group_scores(stored, torch.eye(10, dtype=torch.bool))
    torch.testing.assert_close(alone.T, bounded_products(stored))
    small = {name: tensor / 100 for name, tensor in stored.items()}
    torch.testing.assert_close(bounded_products(small), small["query"] @ small["train"].T, rtol=1e-5, atol=0)


def test_the_loss_by_hand_and_its_gradient() -> None:
    wanted = torch.tensor([[0.0], [0.05], [9.0]], dtype=torch.float64)
    predicted = normal(3, 1).requires_grad_()
    expected = sum(5 * torch.log1p((predicted[low] - predicted[2]).exp()) for low in (0, 1)) / 10
    torch.testing.assert_close(pair_loss(predicted, wanted), expected[0])
    assert torch.autograd.gradcheck(lambda f: pair_loss(f, wanted), predicted)


def test_utilities_of_a_known_embedding_are_learned() -> None:
    """Groups outside the training of the encoder are ranked as by the embedding that generated the utilities."""
    n, d = 60, 6
    h, h_query = normal(n, d), normal(8, d)
    labels = SimpleNamespace(y_train=torch.arange(n) % 2, y_query=torch.arange(8) % 2)
    true = {"query": h_query[:, :4], "train": h[:, :4]}
    masks = torch.rand(260, n, generator=GENERATOR).argsort(1) < n // 2
    utilities = airrep.group_scores(true, masks)
    representations = Checkpoints({1.0: SimpleNamespace(train=h, query=h_query)})
    learned = airrep.attribute(labels, representations, Retrainings(masks[:200], utilities[:200]), steps=400)
    assert learned["scores"].shape == (8, n)
    predicted = airrep.group_scores(learned, masks[200:])
    correlations = [spearmanr(predicted[:, q], utilities[200:, q])[0] for q in range(8)]
    assert np.mean(correlations) > 0.9


def test_the_lds_uses_group_predictions() -> None:
    """The LDS ignores the scores of a method that predicts the effects of groups."""
    stored = {"query": 3 * normal(4, 5), "train": normal(30, 5)}
    masks = torch.rand(40, 30, generator=GENERATOR) < 0.5
    truth = Truth(masks.numpy(), airrep.group_scores(stored, masks)[:, None].numpy())
    inputs = {"scores": np.zeros((4, 30)), "ground_truth": {"subsets": truth}}
    assert lds.evaluate(MetricInputs(**inputs), resamples=1)["lds"].value == 0
    with_groups = MetricInputs(
        **inputs, groups=lambda masks: airrep.group_scores(stored, torch.from_numpy(masks)).numpy()
    )
    assert lds.evaluate(with_groups, resamples=1)["lds"].value == 1
