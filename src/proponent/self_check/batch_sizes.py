"""Batches of the sizes that a setting's trainings have, one by one and in lockstep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from proponent.config.design_schema import DesignKind, n_prefixes
from proponent.config.recipe_schema import LastBatch, RecipeConfig, Schedule
from proponent.rows import Rows
from proponent.self_check.subject import Subject, close, forward
from proponent.torch_failures import FAILURES
from proponent.training.designs import Run, member_run, run_at
from proponent.training.lockstep import train
from proponent.training.stages import stages_of

_LARGEST = 512
"""Largest batch that is tried."""
_LOCKSTEP_BATCH = 32
_BY_WEIGHT = (DesignKind.loo, DesignKind.subsets_fixed_seed)
_DRIFT = 0.01
"""Largest difference between parameters after some steps alone and in company, relative to the largest of the tensor."""
_ROUNDING = 1e-4
"""Difference allowed in addition, relative to the largest parameter of the model."""


def batch_sizes(subject: Subject) -> dict[int, str]:
    """Return the sizes of the batches of the setting's trainings, each with where it occurs first; none without trainings.

    The last batches of stages have a size of their own in every retraining; all sizes occur if there are enough of them, so
    that 1 is among those returned.
    """
    sizes: dict[int, str] = {}
    if subject.recipe is None:
        return sizes
    for where, run in _runs(subject):
        for stage in stages_of(subject.recipe, run, len(subject.data.x_train)):
            first, final = stage.batch(0), stage.batch(stage.batches - 1)
            usual, last = first.stop - first.start, final.stop - final.start
            sizes.setdefault(usual, f"as in {where}")
            if stage.steps >= stage.batches:
                text = f"the last batch of an epoch of {where}, {stage.drawn} examples in batches of {usual}"
                sizes.setdefault(last, text)
    drawn_at_random = any(design.kind is not DesignKind.loo for design in subject.designs.values())
    if subject.recipe.stages and drawn_at_random and subject.recipe.last_batch is LastBatch.keep:
        sizes.setdefault(1, "the last batch of a stage in a retraining, whose examples are drawn at random")
    return sizes


def _way_out(reason: str, *, training: bool) -> str:
    """Return the end of the message for a batch that cannot be processed."""
    if "more than 1 value per channel" in reason and not training:
        return "in eval mode, let it use running statistics and not the statistics of the batch"
    if "more than 1 value per channel" in reason:
        return "set recipe.last_batch to merge or drop, or use GroupNorm or LayerNorm"
    return "keep the axis of examples, for example squeeze(-1) or flatten(1) in place of squeeze()"


def _runs(subject: Subject) -> Iterator[tuple[str, Run]]:
    """Yield a training of the ensemble, and one retraining of each size of every design."""
    yield "training", member_run(subject.seed, 0)
    for name, design in subject.designs.items():
        rows = {DesignKind.permutations: n_prefixes(design), DesignKind.loo: 2}.get(design.kind, 1)
        for row in range(rows):
            n = len(subject.data.x_train)
            yield f"the design '{name}'", run_at(design, name, n, subject.seed, row * design.seeds)


def refuse_batch_sizes(subject: Subject, model: nn.Module) -> None:
    """Refuse a model that cannot process a batch of a size that its trainings have, or gives it other outputs.

    Raises:
        UserError: names the size and where it occurs.
    """
    x = subject.data.x_train
    expected, _ = forward(model, x[:2].clone(), training=False)
    sizes = batch_sizes(subject)
    trained = set(sizes)
    sizes.setdefault(1, "as gradients of single examples need")
    for size, where in sorted(sizes.items()):
        if size > min(_LARGEST, len(x)):
            continue
        examples = "1 example" if size == 1 else f"{size} examples"
        for training in (True, False) if size in trained else (False,):
            try:
                outputs, _ = forward(model, x[:size].clone(), training=training)
            except FAILURES as error:
                reason = " ".join(str(error).split())[:200]
                way_out = _way_out(reason, training=training)
                raise subject.problem(
                    f"the model cannot process a batch of {examples} ({where}): {reason}; {way_out}"
                ) from error
            tail = expected.shape[1:]
            if outputs.shape[:1] == (size,) and outputs.ndim == expected.ndim and outputs.shape[1:] != tail:
                raise subject.problem(
                    f"an example's outputs have shape {tuple(outputs.shape[1:])} in a batch of {examples} and "
                    f"{tuple(tail)} in one of {len(expected)}: the model mixes the examples of a batch; "
                    "let the outputs of an example depend on that example only"
                )
            if outputs.shape != (size, *tail):
                raise subject.problem(
                    f"the model returns outputs of shape {tuple(outputs.shape)} for a batch of {examples} ({where}), where "
                    f"{(size, *tail)} was expected; keep the axis of examples, for example squeeze(-1) in "
                    "place of squeeze()"
                )


def refuse_lockstep(subject: Subject) -> None:
    """Refuse a model that trains otherwise in lockstep with others than alone.

    Raises:
        UserError: the model cannot be trained in lockstep, or its gradients or its parameters differ there.
    """
    if subject.recipe is None:
        return
    x, y = subject.data.x_train, subject.data.y_train
    batch = min(_LOCKSTEP_BATCH, subject.recipe.batch_size, len(x))
    last = len(x) % subject.recipe.batch_size
    rows = min(len(x), batch + (min(last, batch) or batch))
    mask = torch.ones(rows, dtype=torch.bool)
    mask[0] = False
    runs = [Run(1, 2), Run(3, 4), Run(5, 6, mask, by_weight=True)]
    # Adam would turn rounding into steps of full length
    recipe = RecipeConfig(lr=0.1, epochs=1, batch_size=batch, last_batch=subject.recipe.last_batch)
    try:
        together = _trained(subject, x[:rows], y[:rows], recipe, runs)
        alone = [_trained(subject, x[:rows], y[:rows], recipe, [run]) for run in runs]
        if any(design.kind in _BY_WEIGHT for design in subject.designs.values()):
            _refuse_left_out(subject, rows, recipe, runs[-1], alone[-1])
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise subject.problem(f"the model cannot be trained in lockstep with others: {reason}") from error
    largest = max(
        (float(value.abs().max()) for value in together.values() if value.is_floating_point()), default=0.0
    )
    for name, value in together.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            continue
        for row, other in enumerate(alone):
            if name not in other:
                continue
            difference = float((value[row] - other[name][0]).abs().max())
            if difference > _DRIFT * float(value[row].abs().max()) + _ROUNDING * largest:
                raise subject.problem(
                    f"'{name}' of the model is trained otherwise in lockstep with other models than alone; compute this "
                    "parameter's layer with other operations"
                )


def _refuse_left_out(
    subject: Subject, rows: int, recipe: RecipeConfig, run: Run, trained: dict[str, Tensor]
) -> None:
    """Refuse a model whose training by weight depends on the inputs of the example that is left out, the first one."""
    index = torch.arange(rows)
    index[0] = rows - 1
    other = _trained(subject, subject.data.x_train[index], subject.data.y_train[:rows], recipe, [run])
    for name, value in trained.items():
        if value.is_floating_point() and not close(value, other[name]):
            raise subject.problem(
                f"'{name}' of the model depends on an example that is left out by weight, as in the designs loo and "
                "subsets_fixed_seed: in training, the model mixes the examples of a batch; leave out these designs"
            )


def short_recipe(recipe: RecipeConfig, batch_size: int) -> RecipeConfig:
    """Return a recipe of one epoch with the same optimiser."""
    return replace(
        recipe,
        epochs=1,
        steps=None,
        stages=[],
        schedule=Schedule.constant,
        warmup_steps=0,
        warmup_epochs=0.0,
        batch_size=batch_size,
    )


def _trained(
    subject: Subject, x: Rows, y: Tensor, recipe: RecipeConfig, runs: list[Run]
) -> dict[str, Tensor]:
    trained = train(
        subject.build,
        x,
        y,
        subject.task,
        recipe,
        runs,
        augment=subject.augment,
        device=subject.device,
    )
    return {name: value.cpu() for name, value in trained.state.items()}
