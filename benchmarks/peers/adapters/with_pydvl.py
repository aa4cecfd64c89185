"""pyDVL (https://github.com/aai-institute/pyDVL)."""

from __future__ import annotations

from typing import Any

import harness
import torch
from harness import Problem, main
from torch import Tensor, nn

BATCH = 500


def influence(problem: Problem, name: str, batch: int | None = None, **arguments: Any) -> Tensor:
    """Influence functions of the loss; the curvature is that of the Hessian, in batches where these are averaged."""
    from pydvl.influence import torch as models

    model = getattr(models, name)(problem.model, nn.functional.cross_entropy, **arguments)
    train, _ = problem.loaders(batch)
    model = model.fit(train)
    return _scores(problem, model)


def _scores(problem: Problem, model: Any) -> Tensor:
    train, query = problem.loaders(BATCH)
    rows = []
    for x_query, y_query in query:
        factors = model.influence_factors(x_query, y_query)
        parts = [model.influences_from_factors(factors, x, y) for x, y in train]
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)


def if_cg(problem: Problem) -> Tensor:
    """Influence functions by conjugate gradients, all queries of a batch at once."""
    return influence(
        problem,
        "CgInfluence",
        regularization=harness.DAMPING,
        rtol=0.01,
        maxiter=20,
        solve_simultaneously=True,
        warn_on_max_iteration=False,
    )


def if_lissa(problem: Problem) -> Tensor:
    """Influence functions by LiSSA."""
    scale = float(problem.constants()["largest_curvature"]) * 1.5
    return influence(
        problem,
        "LissaInfluence",
        harness.LISSA_BATCH,
        regularization=harness.DAMPING,
        maxiter=harness.DEPTH,
        scale=scale,
        warn_on_max_iteration=False,
    )


def if_arnoldi(problem: Problem) -> Tensor:
    """Influence functions in the leading eigenspace."""
    return influence(
        problem,
        "ArnoldiInfluence",
        regularization=harness.DAMPING,
        rank=harness.RANK,
        krylov_dimension=harness.ITERATIONS,
    )


def datainf(problem: Problem) -> Tensor:
    """DataInf, with one absolute damping for all layers."""
    damping = float(problem.constants()["datainf_damping"])
    return influence(problem, "InverseHarmonicMeanInfluence", BATCH, regularization=damping)


def ekfac(problem: Problem) -> Tensor:
    """EK-FAC of the linear layers, with one absolute damping for all layers."""
    from pydvl.influence.torch import EkfacInfluence

    damping = float(problem.constants()["ekfac_damping"])
    model = EkfacInfluence(problem.model, update_diagonal=True, hessian_regularization=damping)
    train, _ = problem.loaders(BATCH)
    return _scores(problem, model.fit(train))


def knn_shapley(problem: Problem) -> Tensor:
    """KNN-Shapley on the representations, one query at a time, because values of several are averaged."""
    from pydvl.valuation import Dataset, KNNShapleyValuation
    from sklearn.neighbors import KNeighborsClassifier

    body = torch.nn.Sequential(*list(problem.model)[:-1])
    with torch.no_grad():
        train, query = body(problem.x_train).numpy(), body(problem.x_query).numpy()
    examples = Dataset(train, problem.y_train.numpy())
    rows = []
    for index, label in enumerate(problem.y_query.numpy()):
        one = Dataset(query[index : index + 1], label[None])
        valuation = KNNShapleyValuation(KNeighborsClassifier(harness.NEIGHBOURS), one, progress=False)
        rows.append(torch.from_numpy(valuation.fit(examples).result.values))
    return torch.stack(rows)


if __name__ == "__main__":
    methods = (if_cg, if_lissa, if_arnoldi, datainf, ekfac, knn_shapley)
    main({method.__name__.replace("_", "-"): method for method in methods}, "pydvl")
