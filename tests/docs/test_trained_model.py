"""Every example of ``docs/trained-model.md`` is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from docs.guides import REPOSITORY, blocks_of
from proponent.metrics.estimate import Estimate

BLOCKS = [
    block.text for block in blocks_of(REPOSITORY / "docs/trained-model.md") if block.language == "python"
]
ATTRIBUTE, METRICS, IMAGES, LIGHTNING, TRAINER = BLOCKS


def run(block: str, **given: Any) -> dict[str, Any]:
    """Run an example and return its names."""
    names = dict(given)
    exec(compile(block, "docs/trained-model.md", "exec"), names)  # noqa: S102 -- the page of this repository
    return names


def test_attribution_and_metrics():
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    names = run(ATTRIBUTE, model=model, train=(x, y), queries=(x[:4], y[:4]))
    assert names["scores"].shape == (4, 30)
    assert names["index"].shape == names["value"].shape == (4, 10)
    masks = np.random.default_rng(0).random((20, 30)) < 0.5
    scores = names["scores"].numpy()
    loo_masks = np.vstack([np.ones(30), 1 - np.eye(30)])
    found = run(
        METRICS,
        proponent=names["proponent"],
        scores=scores,
        masks=masks,
        targets=masks @ scores.T,
        noisy_labels=np.arange(30) < 3,
        loo_masks=loo_masks,
        loo_targets=loo_masks @ scores.T,
    )
    assert found["lds"].value == pytest.approx(1)
    assert found["loo"].value == pytest.approx(1)
    assert isinstance(found["found"], Estimate)


def test_an_image_classifier_and_its_lightning_checkpoint(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    names = run(IMAGES)
    assert capsys.readouterr().out.startswith("query of class ")
    y, classes = names["y"], names["y"][names["index"]]
    assert float((classes == y[600:620, None]).float().mean()) > 0.2  # by chance 0.1
    monkeypatch.chdir(tmp_path)
    state = {f"model.{name}": value for name, value in names["model"].state_dict().items()}
    torch.save({"state_dict": state, "epoch": 5}, "digits.ckpt")
    again = run(LIGHTNING, **names)
    assert torch.equal(again["index"], names["index"])


def test_a_trainer_with_adapters(tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="needs the extra [text]")
    import proponent

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = run(TRAINER, proponent=proponent)
    assert names["index"].shape == (3, 5)
    assert names["value"].isfinite().all()
