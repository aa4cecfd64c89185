"""DualXDA's own library, dualxda (https://github.com/gumityolcu/DualXDA)."""

from __future__ import annotations

import harness
import torch
from harness import Problem, main
from torch import Tensor

OPERATORS = ("nms", "qnms")
"""Operators of torchvision, which zennit imports, that its wheel does not declare next to torch's build for CPUs."""


def dualda(problem: Problem) -> Tensor:
    """DualDA; C is in absolute units, and the bias is regularised as here."""
    declare_operators()
    from dualxda import DualDA

    body = torch.nn.Sequential(*list(problem.model)[:-1])
    with torch.no_grad():
        norms = body(problem.x_train).square().sum(1)
    attributor = DualDA(
        problem.model,
        problem.train,
        problem.last_layer,
        "cpu",
        str(problem.scratch),
        C=harness.COST / float(norms.mean() + 1),
    )
    return attributor.attribute(problem.x_query, problem.y_query)


def declare_operators() -> None:
    """Declare the operators without which the import of torchvision fails; nothing here calls them."""
    if LIBRARY:
        return
    LIBRARY.append(torch.library.Library("torchvision", "DEF"))
    for name in OPERATORS:
        LIBRARY[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


LIBRARY: list[torch.library.Library] = []
"""The declarations, which end when the object is released."""

if __name__ == "__main__":
    main({"dualda": dualda}, "dualxda")
