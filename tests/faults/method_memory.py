"""Peak memory of one method on a network of any width, in a process of its own.

``python tests/faults/method_memory.py METHOD MEMORY_MIB [WIDTH] [QUERIES] [FILE]`` prints, as JSON, the memory
in MiB before and at the peak of the method, and the mean absolute score or the reason of a refusal; scores go to FILE.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from proponent.config.schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.methods.shared.workspace import Workspace
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.process import keep_freed_memory, peak_memory_mib
from proponent.training.designs import Run
from proponent.training.replay import Replay

TASK = get_task("classification")
RECIPES = {
    "sgd": RecipeConfig(lr=0.02, momentum=0.9, epochs=2, batch_size=32),
    "adam": RecipeConfig(optimizer="adam", lr=0.001, epochs=2, batch_size=32),  # type: ignore[arg-type]
}
CHECKPOINTS = 3
PARAMS = {
    "influence.if_cg": {"damping": 5.0, "tolerance": 1e-4, "iterations": 20},
    "influence.if_lissa": {"depth": 20, "damping": 20.0},
    "influence.if_arnoldi": {"iterations": 50, "rank": 30},
    "gradient_similarity.less": {"points": 2},
    "unrolling.source": {"segments": 2, "checkpoints": 2},
    "unrolling.source_adam": {"segments": 2, "checkpoints": 2},
    "trak.trak_variants": {"variants": 2},
    "projected_influence.trackstar": {"second_moment": "gradients"},
}


def network(width: int) -> nn.Module:
    """Return a network of about width² parameters with saturated units neither at the start nor later."""
    return nn.Sequential(
        nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3)
    )


def build(width: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return network(width)


def data(n_train: int, n_query: int) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n_train + n_query) % 3
    x = 2 * torch.randn(3, 6, generator=generator)[y] + torch.randn(len(y), 6, generator=generator)
    return Arrays(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def needs(
    names: list[str], width: int, arrays: Arrays, memory_mib: int, recipe: RecipeConfig
) -> list[object]:
    """Return the needs of a method by the names of its arguments."""
    times = CheckpointTimes([5, 10, 20], [0.02] * 3, [1.0, 2.0, 4.0])

    def state(index: int) -> dict[str, Tensor]:
        return {name: value * (1 + index / 10) for name, value in build(width, 1).state_dict().items()}

    reader = NetworkReader(
        build(width, 0), state, TASK, arrays, 0, times, weight_decay=0.001, memory_mib=memory_mib
    )
    made = {
        "network": reader.network,
        "replay": lambda: Replay(
            lambda seed: build(width, seed), TASK, recipe, Run(1, 2), arrays, 0, memory_mib
        ),
        "workspace": Workspace,
    }
    return [made[name]() for name in names]


def scores(method: str, memory_mib: int, width: int, n_query: int) -> Tensor:
    """Return the scores of a method."""
    module = importlib.import_module(f"proponent.methods.{method}")
    signature = inspect.signature(module.attribute).parameters.values()
    names = [argument.name for argument in signature if argument.kind is argument.POSITIONAL_OR_KEYWORD]
    recipe = RECIPES["adam" if method == "unrolling.source_adam" else "sgd"]
    arguments = needs(names, width, data(500, n_query), memory_mib, recipe)
    found = module.attribute(*arguments, **PARAMS.get(method, {}))
    return found[0] if isinstance(found, tuple) else found


def main(method: str, memory_mib: str, width: str = "540", n_query: str = "250", save: str = "") -> None:
    """Run a method and print what it took."""
    keep_freed_memory()
    torch.set_num_threads(1)
    scores(method, 100_000, 4, 2)  # loads what is loaded once
    before = peak_memory_mib()
    result: dict[str, object] = {"method": method, "memory_mib": int(memory_mib), "before": round(before)}
    try:
        found = scores(method, int(memory_mib), int(width), int(n_query))
        result["scores"] = float(found.abs().mean())
        if save:
            torch.save(found, save)
    except UserError as error:
        result["refused"] = str(error)
    result["peak"] = round(peak_memory_mib())
    result["needed"] = round(peak_memory_mib() - before)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    main(*sys.argv[1:])
