"""Number of models that fit into a device's memory."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.settings.models import mlp
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io import lockstep_size as lockstep
from proponent.steps.io.lockstep_size import lockstep_of
from proponent.training.designs import Run
from proponent.training.memory import SHARE, bytes_of_one, models_that_fit

TASK = get_task("classification")
SGD = RecipeConfig(lr=0.1, epochs=1, batch_size=10)
X, Y = torch.randn(50, 6), torch.randint(0, 3, (50,))


def build(seed: int, width: int = 8) -> torch.nn.Module:
    torch.manual_seed(seed)
    return mlp(6, [width], 3)


def fit(device_bytes: int, runs: int = 40, checkpoints: int = 0, **changed) -> int:
    recipe = changed.get("recipe", SGD)
    models = [Run(seed, seed) for seed in range(runs)]
    make = changed.get("build", build)
    return models_that_fit(
        make, X, Y, TASK, recipe, models, device_bytes, device="cpu", checkpoints=checkpoints
    )


def test_all_models_fit_into_much_memory_and_at_least_one_is_trained():
    assert fit(2**30) == 40
    assert fit(1000) == 1


def test_half_the_memory_holds_half_the_models():
    data = X.numel() * 4 + Y.numel() * 8
    finished = 40 * 4 * (6 * 8 + 8 + 8 * 3 + 3)
    own = bytes_of_one(build(0), X, Y, TASK, SGD, "cpu") + 50 * 8
    for models in (1, 7, 20, 39):
        room = int((data + finished + models * own) / SHARE) + 1
        assert fit(room) == models


def test_moments_checkpoints_and_width_take_room():
    adam = RecipeConfig(optimizer=Optimizer.adam, lr=0.1, epochs=1, batch_size=10)
    room = 80_000
    assert 1 < fit(room) < 40
    assert fit(room, recipe=adam) < fit(room)
    assert fit(room, checkpoints=3) < fit(room)
    assert fit(room, build=partial(build, width=16)) < fit(room)
    assert fit(room) == fit(room), "the number does not depend on chance"


def job_on(device: str, asked: int) -> SimpleNamespace:
    return SimpleNamespace(spec=SimpleNamespace(lockstep=asked), device=device, details={})


def test_a_gpu_that_is_too_small_trains_fewer_at_a_time_and_says_so(monkeypatch, capsys):
    job = job_on("cuda", 25)
    arguments = (build, Arrays(X, Y, X, Y), TASK, SGD, [Run(seed, seed) for seed in range(40)])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=2**30))
    monkeypatch.setattr(lockstep, "models_that_fit", lambda *given, **named: 10)
    assert lockstep_of(job, *arguments) == 10
    assert job.details == {"lockstep": 10}
    assert "10 models at a time, not 25: the device has 1 GiB" in capsys.readouterr().err

    roomy = job_on("cuda", 5)
    assert lockstep_of(roomy, *arguments) == 5
    on_cpu = job_on("cpu", 25)
    assert lockstep_of(on_cpu, *arguments) == 25
    assert not roomy.details
    assert not on_cpu.details


MEASURED = """
import sys
import torch
from torch import nn
from proponent.config.recipe_schema import RecipeConfig
from proponent.settings.tasks import get_task
from proponent.steps.io.process import peak_memory_mib
from proponent.training.designs import Run
from proponent.training import lockstep
from proponent.training.memory import training_bytes
from proponent.training.pass_choice import PassChoice

def mlp(seed):
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))

def convolutional(seed):
    return nn.Sequential(
        nn.Conv2d(2, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(8192, 10)
    )

torch.set_num_threads(1)
build, shape = {"mlp": (mlp, (512,)), "convolutional": (convolutional, (2, 16, 16))}[sys.argv[1]]
x, y = torch.randn(64, *shape), torch.randint(0, 10, (64,))
recipe, task = RecipeConfig(lr=0.01, momentum=0.9, epochs=2, batch_size=64), get_task("classification")
needed = training_bytes(build, x, y, task, recipe, [Run(0, 0)], device="cpu")
expected = needed.own + needed.shared

lockstep.pass_choice = lambda *given: PassChoice(24, stacked=True)

def peak(models):
    lockstep.train(build, x, y, task, recipe, [Run(seed, seed) for seed in range(models)], lockstep=models)
    return peak_memory_mib() * 2**20

few = peak(4)
print((peak(24) - few) / 20 / expected)
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "convolutional"])
def test_a_model_takes_what_the_arithmetic_says_at_most(model):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, model], capture_output=True, text=True, check=True, timeout=1200
    )
    assert 0.4 < float(done.stdout.splitlines()[-1]) < 1.15
