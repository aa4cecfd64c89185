"""Heat maps of DualXDA's own package (dualxda 0.1.0) for a small network: writes ``dualxda_relevances.json``.

Usage, in the environment of ``benchmarks/peers/environments/dualxda.txt`` (``make bench-peers`` makes it):
``python tests/oracles/dualxda_relevances.py``. The package starts from the elementwise product of both representations,
times the dual variable, and propagates it by the epsilon rule of zennit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CASE = Path(__file__).with_suffix(".json")
OPERATORS = ("nms", "qnms")
"""Operators of torchvision that its wheel does not declare next to torch's build for CPUs."""


def network() -> nn.Sequential:
    """Return the architecture."""
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))


def heat_map(model: nn.Sequential, one: Tensor, start: Tensor) -> list[float]:
    """Return the contributions of the features of ``one`` (1, 5) for relevances ``start`` (1, 4) of its representation."""
    from dualxda.utils import InitRelevanceRule
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlus, MixedComposite, NameMapComposite

    rules = MixedComposite([NameMapComposite([(["4"], InitRelevanceRule(start))]), EpsilonPlus()])
    with Gradient(model=model, composite=rules) as attributor:
        _, relevance = attributor(one, torch.zeros(1, 3))
    found: list[float] = relevance[0].tolist()
    return found


def make() -> dict[str, Any]:
    """Return weights, examples, and the heat maps of both sides of some pairs for a dual variable of 1."""
    torch.manual_seed(0)
    model = network().eval()
    x = torch.randn(6, 5)
    with torch.no_grad():
        h = model[:-1](x)
    pairs = []
    for query, example in ((0, 1), (2, 3), (4, 5), (1, 1)):
        start = (h[query] * h[example])[None]
        maps = [heat_map(model, x[[row]], start) for row in (query, example)]
        pairs.append({"query": query, "example": example, "of_query": maps[0], "of_example": maps[1]})
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    return {"state": state, "x": x.tolist(), "pairs": pairs}


if __name__ == "__main__":
    declared = torch.library.Library("torchvision", "DEF")
    for name in OPERATORS:
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    CASE.write_text(json.dumps(make()) + "\n")
