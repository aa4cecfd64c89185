"""kronfluence (https://github.com/pomonam/kronfluence)."""

from __future__ import annotations

from harness import Problem, main
from torch import Tensor, nn

BATCH = 500


def pairwise(problem: Problem, strategy: str) -> Tensor:
    """Return the scores of one of its strategies; labels of the Fisher matrix are sampled, once per example."""
    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(
            self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False
        ) -> Tensor:
            x, y = batch
            logits = model(x)
            if sample:
                y = torch.multinomial(logits.detach().softmax(1), 1)[:, 0]
            return nn.functional.cross_entropy(logits, y, reduction="sum")

        def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    task = Classification()
    analyzer = Analyzer(
        "peers",
        prepare_model(problem.model, task),
        task,
        cpu=True,
        disable_tqdm=True,
        output_dir=str(problem.scratch),
    )
    analyzer.fit_all_factors(
        "factors", problem.train, per_device_batch_size=BATCH, factor_args=FactorArguments(strategy=strategy)
    )
    analyzer.compute_pairwise_scores(
        "scores",
        "factors",
        query_dataset=problem.query,
        train_dataset=problem.train,
        per_device_query_batch_size=BATCH,
        per_device_train_batch_size=BATCH,
        score_args=ScoreArguments(damping_factor=None),
    )
    return analyzer.load_pairwise_scores("scores")["all_modules"]


def graddot(problem: Problem) -> Tensor:
    """Inner products of gradients."""
    return pairwise(problem, "identity")


def ekfac(problem: Problem) -> Tensor:
    """EK-FAC with the heuristic damping, 0.1 times the mean eigenvalue of each layer."""
    return pairwise(problem, "ekfac")


if __name__ == "__main__":
    main({"graddot": graddot, "ekfac": ekfac}, "kronfluence")
