"""Peak memory of methods on a network of any width, each measured from where the one before ended.

``python tests/faults/method_memory.py MEMORY_MIB WIDTH EXAMPLES QUERIES METHOD...`` prints a line of JSON per method: the
memory in MiB that it needed, or the reason of a refusal.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.methods.shared.workspace import Workspace
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.process import peak_memory_mib
from proponent.training.designs import Run
from proponent.training.replay import Replay

TASK = get_task("classification")
SGD = RecipeConfig(lr=0.02, momentum=0.9, epochs=2, batch_size=32)
ADAM = RecipeConfig(optimizer=Optimizer.adam, lr=0.001, epochs=2, batch_size=32)
PARAMS = {
    "influence.if_cg": {"damping": 20.0, "tolerance": 1e-3, "iterations": 20},
    "influence.if_lissa": {"depth": 10, "damping": 20.0},
    "influence.if_arnoldi": {"iterations": 30, "rank": 20},
    "gradient_similarity.less": {"points": 2},
    "unrolling.source": {"segments": 2, "checkpoints": 2},
    "unrolling.source_adam": {"segments": 2, "checkpoints": 2},
}
UNLIMITED_MIB = 1_000_000


class Problem:
    """A small data set, and a network with about width² parameters."""

    def __init__(self, width: int, n_train: int, n_query: int) -> None:
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(n_train + n_query) % 3
        x = 2 * torch.randn(3, 6, generator=generator)[y] + torch.randn(len(y), 6, generator=generator)
        self.width, self.data = width, Arrays(x[:n_train], y[:n_train], x[n_train:], y[n_train:])

    def build(self, seed: int) -> nn.Module:
        """Return a new network."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inner = nn.Linear(6, self.width), nn.Tanh(), nn.Linear(self.width, self.width), nn.Tanh()
            return nn.Sequential(*inner, nn.Linear(self.width, 3))

    def needs(self, name: str, memory_mib: int, recipe: RecipeConfig) -> object:
        """Return a need of a method by its name."""
        if name == "workspace":
            return Workspace()
        if name == "replay":
            return Replay(self.build, TASK, recipe, Run(1, 2), self.data, 0, memory_mib)
        times = CheckpointTimes([5, 10, 20], [0.02] * 3, [1.0, 2.0, 4.0])
        module = self.build(0)

        def state(index: int) -> dict[str, Tensor]:
            return {key: value * (1 + index / 10) for key, value in self.build(1).state_dict().items()}

        reader = NetworkReader(
            module, state, TASK, self.data, 0, times, weight_decay=0.001, memory_mib=memory_mib
        )
        return reader.network()

    def scores(self, method: str, memory_mib: int) -> Tensor:
        """Return the scores of a method."""
        module = importlib.import_module(f"proponent.methods.{method}")
        signature = inspect.signature(module.attribute).parameters.values()
        names = [argument.name for argument in signature if argument.kind is argument.POSITIONAL_OR_KEYWORD]
        recipe = ADAM if method == "unrolling.source_adam" else SGD
        found = module.attribute(
            *(self.needs(name, memory_mib, recipe) for name in names), **PARAMS.get(method, {})
        )
        return found[0] if isinstance(found, tuple) else found


def needed_mib(problem: Problem, method: str, memory_mib: int) -> float:
    """Return the memory that a method takes in addition to what the process has, in MiB."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak_memory_mib()
    problem.scores(method, memory_mib)
    return peak_memory_mib() - before


def main(memory_mib: int, width: int, n_train: int, n_query: int, methods: list[str]) -> None:
    """Measure methods and print the results."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for method in methods:
        Problem(4, 20, 5).scores(method, UNLIMITED_MIB)  # loads what is loaded once
        problem = Problem(width, n_train, n_query)
        result: dict[str, object] = {"method": method}
        try:
            result["needed"] = round(needed_mib(problem, method, memory_mib))
        except UserError as error:
            result["refused"] = str(error)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    sizes = [int(value) for value in sys.argv[1:5]]
    main(*sizes, methods=sys.argv[5:])
