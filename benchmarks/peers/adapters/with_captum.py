"""Captum (https://captum.ai)."""

from __future__ import annotations

from typing import Any

import harness
import torch
from harness import Problem, main
from torch import Tensor, nn

BATCH = 500


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of log p / (1 - p) of the labels over a batch."""
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    return (logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(1)).sum()


def tracin_over(problem: Problem, names: list[str], rate: float) -> Tensor:
    """TracIn of the margin over some checkpoints."""
    from captum.influence import TracInCP

    def load(model: nn.Module, name: str) -> float:
        model.load_state_dict(problem.state(name))
        return rate

    attributor = TracInCP(
        problem.model,
        problem.train,
        names,
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        test_loss_fn=margin,
        batch_size=BATCH,
        sample_wise_grads_per_batch=True,
    )
    return -attributor.influence((problem.x_query, problem.y_query))


def graddot(problem: Problem) -> Tensor:
    """Inner products of gradients."""
    return tracin_over(problem, ["model-0"], 1.0)


def tracin(problem: Problem) -> Tensor:
    """TracIn over the checkpoints."""
    return tracin_over(problem, [f"checkpoint-{index}" for index in range(4)], harness.RATE)


def if_arnoldi(problem: Problem) -> Tensor:
    """Influence functions in the leading eigenspace."""
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    def load(model: nn.Module, name: str) -> float:
        model.load_state_dict(problem.state(name))
        return 1.0

    arguments: dict[str, Any] = {"projection_dim": harness.RANK, "arnoldi_dim": harness.ITERATIONS}
    attributor = ArnoldiInfluenceFunction(
        problem.model,
        problem.train,
        "model-0",
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=BATCH,
        sample_wise_grads_per_batch=True,
        hessian_reg=harness.DAMPING * len(problem.y_train),
        **arguments,
    )
    return attributor.influence((problem.x_query, problem.y_query))


if __name__ == "__main__":
    methods = (graddot, tracin, if_arnoldi)
    main({method.__name__.replace("_", "-"): method for method in methods}, "captum")
