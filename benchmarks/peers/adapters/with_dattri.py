"""dattri (https://github.com/TRAIS-Lab/dattri)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import torch
from harness import Problem, main
from torch import Tensor, nn
from torch.func import functional_call

Pair = tuple[Tensor, Tensor]
BATCH = 500


def loss_of(model: nn.Module, single: bool) -> Callable[[Any, Pair], Tensor]:
    """Return the mean loss of a batch, or the loss of an example without batch dimension."""

    def loss(parameters: Any, pair: Pair) -> Tensor:
        x, y = (each[None] for each in pair) if single else pair
        # LiSSA passes labels as floating point numbers
        return nn.functional.cross_entropy(functional_call(model, parameters, (x,)), y.long())

    return loss


def margin_of(model: nn.Module) -> Callable[[Any, Pair], Tensor]:
    """Return log p / (1 - p) of the label of an example without batch dimension."""

    def margin(parameters: Any, pair: Pair) -> Tensor:
        x, y = pair
        logits = functional_call(model, parameters, (x[None],))[0]
        own = torch.arange(len(logits)) == y
        return (logits * own).sum() - logits.masked_fill(own, -torch.inf).logsumexp(0)

    return margin


def tracin_over(problem: Problem, states: list[dict[str, Tensor]], weights: list[float]) -> Tensor:
    """TracIn of the margin over some checkpoints; the gradients are not projected."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    model = problem.model
    task = AttributionTask(
        loss_func=loss_of(model, single=True),
        target_func=margin_of(model),
        model=model,
        checkpoints=states,
    )
    attributor = TracInAttributor(task=task, weight_list=torch.tensor(weights), normalized_grad=False)
    attributor.projector_kwargs = None
    return -attributor.attribute(*problem.loaders(BATCH)).T


def graddot(problem: Problem) -> Tensor:
    """Inner products of gradients."""
    return tracin_over(problem, problem.states[:1], [1.0])


def tracin(problem: Problem) -> Tensor:
    """TracIn over the checkpoints."""
    return tracin_over(problem, problem.checkpoints, [harness.RATE] * len(problem.checkpoints))


def influence(problem: Problem, name: str, batch: int | None = None, **arguments: Any) -> Tensor:
    """Influence functions of the loss.

    The curvature is that of one batch of all examples, because dattri adds the inverses of batches.
    """
    from dattri.algorithm import influence_function
    from dattri.task import AttributionTask

    task = AttributionTask(
        loss_func=loss_of(problem.model, single=False),
        model=problem.model,
        checkpoints=problem.states[:1],
    )
    attributor = getattr(influence_function, name)(task=task, **arguments)
    train, query = problem.loaders(batch)
    whole, _ = problem.loaders()
    attributor.cache(whole)
    return attributor.attribute(train, query).T


def if_cg(problem: Problem) -> Tensor:
    """Influence functions by conjugate gradients."""
    return influence(problem, "IFAttributorCG", BATCH, max_iter=20, regularization=harness.DAMPING)


def if_lissa(problem: Problem) -> Tensor:
    """Influence functions by LiSSA; its damping is in units of the scale."""
    scale = float(problem.constants()["largest_curvature"]) * 1.5
    return influence(
        problem,
        "IFAttributorLiSSA",
        BATCH,
        batch_size=harness.LISSA_BATCH,
        recursion_depth=harness.DEPTH,
        scaling=scale,
        damping=harness.DAMPING / scale,
    )


def if_arnoldi(problem: Problem) -> Tensor:
    """Influence functions in the leading eigenspace."""
    return influence(
        problem,
        "IFAttributorArnoldi",
        BATCH,
        proj_dim=harness.RANK,
        max_iter=harness.ITERATIONS,
        regularization=harness.DAMPING,
    )


def datainf(problem: Problem) -> Tensor:
    """DataInf, with one absolute damping for all layers; of 20 queries at a time, because more take tens of GiB."""
    damping = float(problem.constants()["datainf_damping"])
    return influence(problem, "IFAttributorDataInf", 20, regularization=damping)


def ekfac(problem: Problem) -> Tensor:
    """EK-FAC of the linear layers, with one absolute damping for all layers."""
    damping = float(problem.constants()["ekfac_damping"])
    return influence(problem, "IFAttributorEKFAC", BATCH, damping=damping)


def trak_over(problem: Problem, states: list[dict[str, Tensor]]) -> Tensor:
    """TRAK, projected to 512 dimensions, its default."""
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask

    model = problem.model

    def probability(parameters: Any, pair: Pair) -> Tensor:
        x, y = pair
        logits = functional_call(model, parameters, (x[None],))
        return torch.exp(-nn.functional.cross_entropy(logits, y[None]))

    task = AttributionTask(loss_func=margin_of(model), model=model, checkpoints=states)
    attributor = TRAKAttributor(
        task=task,
        correct_probability_func=probability,
        regularization=float(problem.constants()["trak_damping"])
        / sum(p.numel() for p in model.parameters()),
    )
    train, query = problem.loaders(BATCH)
    attributor.cache(train)
    return attributor.attribute(query).T


def trak(problem: Problem) -> Tensor:
    """TRAK with one model."""
    return trak_over(problem, problem.states[:1])


def trak_10(problem: Problem) -> Tensor:
    """TRAK with ten models."""
    return trak_over(problem, problem.states)


def rps(problem: Problem) -> Tensor:
    """Representer points."""
    from dattri.algorithm.rps import RPSAttributor
    from dattri.task import AttributionTask

    task = AttributionTask(
        loss_func=nn.functional.cross_entropy, model=problem.model, checkpoints=problem.states[:1]
    )
    attributor = RPSAttributor(
        task=task, final_linear_layer_name=problem.last_layer, l2_strength=harness.REGULARISATION
    )
    train, query = problem.loaders(BATCH)
    attributor.cache(train)
    return attributor.attribute(train, query).T


def lds(problem: Problem) -> Tensor:
    """The LDS of each query; subsets are given as indices."""
    from dattri.metric import lds

    masks, targets = problem.retrainings()
    size = int(masks.sum(1).min())  # dattri needs subsets of one size
    indices = torch.stack([mask.nonzero()[:size, 0] for mask in masks])
    return lds(problem.similarities.T, (targets, indices))[0][None]


if __name__ == "__main__":
    methods = (graddot, tracin, if_cg, if_lissa, if_arnoldi, datainf, ekfac, trak, trak_10, rps, lds)
    main({method.__name__.replace("_", "-"): method for method in methods}, "dattri")
