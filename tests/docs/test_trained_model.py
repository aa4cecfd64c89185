"""Every example of ``docs/trained-model.md`` is run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from docs.guides import REPOSITORY, blocks_of
from proponent.metrics.estimate import Estimate

GUIDE = "docs/trained-model.md"
PAGE = (REPOSITORY / GUIDE).read_text(encoding="utf-8")
BLOCKS = [block.text for block in blocks_of(REPOSITORY / GUIDE) if block.language == "python"]
ATTRIBUTE, METRICS, IMAGES, LIGHTNING, TRAINER = BLOCKS


def run(block: str, **given: Any) -> dict[str, Any]:
    """Run an example and return its names."""
    names = dict(given)
    exec(compile(block, GUIDE, "exec"), names)  # noqa: S102 -- the page of this repository
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


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    """The names of the example of an image classifier."""
    torch.manual_seed(0)
    return run(IMAGES)


def share_of_own_class(names: dict[str, Any]) -> float:
    """Return the share of proponents that have the class of their query; by chance 0.1."""
    y = names["y"]
    return float((y[names["index"]] == y[600:620, None]).float().mean())


def test_an_image_classifier(images):
    assert share_of_own_class(images) > 0.2


@pytest.mark.slow
def test_a_module_of_lightning_and_its_checkpoints(images, tmp_path, monkeypatch):
    """The file that the page gives alone has the weights with which the training ended."""
    lightning = pytest.importorskip("lightning", reason="make env-dev installs it")
    monkeypatch.chdir(tmp_path)
    lightning.seed_everything(0)
    names = run(LIGHTNING, **images)
    assert len(names["checkpoints"]) == 3
    assert share_of_own_class(names) > 0.2
    (path,) = re.findall(r"`models=\[\"(digits/[^\"]+)\"\]`", PAGE)
    proponent, build, train, test = (names[name] for name in ("proponent", "build", "train", "test"))
    of_file = proponent.Attributor("graddot", build(), train, models=[path]).attribute(test)
    of_module = proponent.Attributor("graddot", names["module"].model, train).attribute(test)
    assert torch.equal(of_file, of_module)


@pytest.mark.slow
def test_a_trainer_with_adapters(tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="needs the extra [text]")
    import proponent

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = run(TRAINER, proponent=proponent)
    assert names["index"].shape == (3, 5)
    assert names["value"].isfinite().all()
