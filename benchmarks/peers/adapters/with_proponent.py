"""This library: every method by the same three lines."""

from __future__ import annotations

from typing import Any

import harness
from harness import Problem, main
from torch import Tensor


def score(method: str, problem: Problem, **arguments: Any) -> Tensor:
    """Return the scores of a method."""
    import proponent

    attributor = proponent.Attributor(method, problem.model, problem.train, **arguments)
    return attributor.attribute(problem.query)


def graddot(problem: Problem) -> Tensor:
    """Inner products of gradients."""
    return score("graddot", problem)


def tracin(problem: Problem) -> Tensor:
    """TracIn over the checkpoints."""
    checkpoints = [(state, harness.RATE) for state in problem.checkpoints]
    return score("tracin", problem, checkpoints=checkpoints, steps="rate")


def if_cg(problem: Problem) -> Tensor:
    """Influence functions by conjugate gradients."""
    return score("if-cg", problem, damping=harness.DAMPING)


def if_lissa(problem: Problem) -> Tensor:
    """Influence functions by LiSSA."""
    return score("if-lissa", problem, damping=harness.DAMPING, depth=harness.DEPTH, batch=harness.LISSA_BATCH)


def if_arnoldi(problem: Problem) -> Tensor:
    """Influence functions in the leading eigenspace."""
    settings = {"rank": harness.RANK, "iterations": harness.ITERATIONS}
    return score("if-arnoldi", problem, damping=harness.DAMPING, **settings)


def datainf(problem: Problem) -> Tensor:
    """DataInf."""
    return score("datainf", problem, damping=harness.RELATIVE_DAMPING)


def ekfac(problem: Problem) -> Tensor:
    """EK-FAC."""
    return score("ekfac", problem, damping=harness.RELATIVE_DAMPING)


def trak(problem: Problem) -> Tensor:
    """TRAK with one model, exact."""
    return score("trak", problem, damping=harness.TRAK_DAMPING)


def trak_10(problem: Problem) -> Tensor:
    """TRAK with ten models, exact."""
    return score("trak", problem, models=problem.states, damping=harness.TRAK_DAMPING)


def rps(problem: Problem) -> Tensor:
    """Representer points."""
    return score("rps", problem, regularisation=harness.REGULARISATION)


def dualda(problem: Problem) -> Tensor:
    """DualDA."""
    return score("dualda", problem, cost=harness.COST)


def knn_shapley(problem: Problem) -> Tensor:
    """KNN-Shapley."""
    return score("knn-shapley", problem, neighbours=harness.NEIGHBOURS)


def lds(problem: Problem) -> Tensor:
    """The LDS of each query, with its bootstrap interval."""
    import torch

    import proponent

    masks, targets = problem.retrainings()
    found = proponent.metrics.lds(problem.similarities, masks, targets)
    return torch.tensor([found.extras["per_query"]])


if __name__ == "__main__":
    methods = (
        graddot, tracin, if_cg, if_lissa, if_arnoldi, datainf, ekfac, trak, trak_10, rps, dualda, knn_shapley,
        lds,
    )  # fmt: skip
    main({method.__name__.replace("_", "-"): method for method in methods}, "proponent")
