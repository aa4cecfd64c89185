"""TRAK's own library, traker (https://github.com/MadryLab/trak)."""

from __future__ import annotations

import torch
from harness import Problem, main
from torch import Tensor

BATCH = 500
DIMENSIONS = 512


def trak_over(problem: Problem, states: list[dict[str, Tensor]]) -> Tensor:
    """TRAK with the projector for CPUs."""
    from trak import TRAKer

    # gradients are divided by the root of the number of parameters, and the projection is not divided by that of DIMENSIONS
    scale = DIMENSIONS / sum(p.numel() for p in problem.model.parameters())
    traker = TRAKer(
        problem.model,
        "image_classification",
        len(problem.y_train),
        save_dir=str(problem.scratch),
        device="cpu",
        proj_dim=DIMENSIONS,
        use_half_precision=False,
        lambda_reg=float(problem.constants()["trak_damping"]) * scale,
        logging_level=30,
    )
    train, query = problem.loaders(BATCH)
    for index, state in enumerate(states):
        traker.load_checkpoint(state, model_id=index)
        for batch in train:
            traker.featurize(batch=batch, num_samples=len(batch[1]))
    traker.finalize_features()
    for index, state in enumerate(states):
        traker.start_scoring_checkpoint("scores", state, model_id=index, num_targets=len(problem.y_query))
        for batch in query:
            traker.score(batch=batch, num_samples=len(batch[1]))
    return torch.as_tensor(traker.finalize_scores("scores")).T


def trak(problem: Problem) -> Tensor:
    """TRAK with one model."""
    return trak_over(problem, problem.states[:1])


def trak_10(problem: Problem) -> Tensor:
    """TRAK with ten models."""
    return trak_over(problem, problem.states)


if __name__ == "__main__":
    main({"trak": trak, "trak-10": trak_10}, "traker")
