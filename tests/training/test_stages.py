"""Training in stages is an ordinary loop over the stages, each on its own part of the training set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from proponent.config.recipe_schema import Optimizer, RecipeConfig, StageConfig
from proponent.errors import UserError
from proponent.seeds import derive_seed
from proponent.settings.models import mlp
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.training.designs import Run, member_run
from proponent.training.lockstep import train
from proponent.training.recipe import learning_rates
from proponent.training.replay import Replay
from proponent.training.stages import place, stages_of

N = 16
TASK = get_task("classification")
STAGES = [StageConfig(examples=9, epochs=3, lr=0.1), StageConfig(examples=7, epochs=2)]
RECIPES = {
    "momentum": RecipeConfig(lr=0.02, momentum=0.8, weight_decay=0.01, batch_size=4, stages=STAGES),
    "adam": RecipeConfig(optimizer=Optimizer.adam, lr=0.02, eps=1e-3, batch_size=4, stages=STAGES),
}
FIRST, SECOND = torch.arange(N) < 9, torch.arange(N) >= 9
SOME = torch.arange(N) % 3 != 0
RUNS = {
    "all examples": Run(1, 11),
    "a subset": Run(2, 12, SOME),
    "a smaller subset": Run(3, 13, torch.arange(N) % 3 == 1),
    "nothing of the first stage": Run(4, 14, SECOND),
    "nothing of the second stage": Run(5, 15, FIRST),
    "dropped by weight": Run(6, 16, SOME, by_weight=True),
    "a stage dropped by weight": Run(7, 17, FIRST, by_weight=True),
}


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return mlp(4, [5], 3, activation="tanh").double()


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (N,), generator=generator)


def ordinary(name: str, run: Run) -> nn.Module:
    """Train on one stage after the other with one optimiser, independently of the trainer's own stages."""
    x, y = data()
    model = build(run.init_seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.8, weight_decay=0.01)
    if name == "adam":
        optimizer = torch.optim.Adam(model.parameters(), 0.02, eps=1e-3)
    mask = torch.ones(N, dtype=torch.bool) if run.mask is None else run.mask
    for part, epochs, lr in ((FIRST, range(3), 0.1), (SECOND, range(3, 5), 0.02)):
        optimizer.param_groups[0]["lr"] = lr
        rows = (part if run.by_weight else part & mask).nonzero().flatten()
        for epoch in epochs:
            seed = derive_seed(run.order_seed, "epoch", epoch)
            order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
            for batch in order.split(4) if len(rows) else ():
                losses = cross_entropy(model(x[batch]), y[batch], reduction="none")
                optimizer.zero_grad()
                ((losses * mask[batch]) if run.by_weight else losses).mean().backward()
                optimizer.step()
    return model


@pytest.mark.parametrize("lockstep", [1, 3, 7])
@pytest.mark.parametrize("name", RECIPES)
def test_in_lockstep_it_is_an_ordinary_loop_over_the_stages(name: str, lockstep: int) -> None:
    trained = train(build, *data(), TASK, RECIPES[name], list(RUNS.values()), lockstep=lockstep)
    for index, run in enumerate(RUNS.values()):
        for key, value in ordinary(name, run).state_dict().items():
            torch.testing.assert_close(trained.state[key][index], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_a_replay_has_the_same_batches_and_ends_at_the_same_model(name: str) -> None:
    x, y = data()
    run = member_run(0, 1)
    replay = Replay(build, TASK, RECIPES[name], run, Arrays(x, y, x[:2], y[:2]))
    trained = train(build, x, y, TASK, RECIPES[name], [member_run(0, 0), run])
    assert replay.rates == trained.learning_rates[1].tolist()
    for key, value in replay.parameters(replay.end()).items():
        torch.testing.assert_close(value, trained.state[key][1], rtol=1e-10, atol=1e-12)
    epochs = [[0] * N for _ in range(5)]
    for step in replay.backward():
        epoch = step.steps // 3 if step.steps < 9 else 3 + (step.steps - 9) // 2
        for example in step.examples.tolist():
            epochs[epoch][example] += 1
    assert epochs == [FIRST.int().tolist()] * 3 + [SECOND.int().tolist()] * 2


def test_steps_and_rates_follow_the_examples_that_a_run_keeps() -> None:
    def described(run: str) -> list[tuple[int, int, float]]:
        stages = stages_of(RECIPES["momentum"], RUNS[run], N)
        rates = learning_rates(RECIPES["momentum"], stages)
        return [(stage.start, stage.stop, rates[stage.start].item()) for stage in stages]

    assert described("all examples") == [(0, 9, 0.1), (9, 13, 0.02)]
    assert described("a smaller subset") == [(0, 3, 0.1), (3, 5, 0.02)]
    assert described("nothing of the first stage") == [(0, 4, 0.02)]
    assert described("nothing of the second stage") == [(0, 9, 0.1)]
    assert described("a stage dropped by weight") == [(0, 9, 0.1), (9, 13, 0.02)]


def test_an_epoch_has_one_number_whatever_is_kept_before_it() -> None:
    for name, step in (("all examples", 9), ("nothing of the first stage", 0)):
        stage, epoch, batch = place(stages_of(RECIPES["momentum"], RUNS[name], N), step)
        assert (stage.examples, epoch, batch) == (slice(9, 16), 3, 0)


@pytest.mark.parametrize("by_weight", [False, True])
def test_a_mask_that_keeps_nothing_at_all_is_refused(by_weight: bool) -> None:
    with pytest.raises(UserError, match="keeps no example"):
        stages_of(RECIPES["momentum"], Run(1, 1, torch.zeros(N, dtype=torch.bool), by_weight), N)


def test_stages_of_another_training_set_are_refused() -> None:
    for n in (N - 1, N + 1):
        with pytest.raises(ValueError, match=f"stages of {N} examples for a training set of {n}"):
            stages_of(RECIPES["momentum"], Run(1, 1), n)


def test_one_stage_of_all_examples_is_a_recipe_without_stages() -> None:
    x, y = data()
    whole = RecipeConfig(lr=0.1, momentum=0.8, batch_size=4, epochs=3)
    staged = RecipeConfig(lr=0.1, momentum=0.8, batch_size=4, stages=[StageConfig(examples=N, epochs=3)])
    plain, other = (train(build, x, y, TASK, recipe, list(RUNS.values())) for recipe in (whole, staged))
    assert all(torch.equal(value, other.state[name]) for name, value in plain.state.items())
