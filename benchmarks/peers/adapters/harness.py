"""What all adapters share: the trained model and the data, and the measurement of one call.

This module runs in the environment of every library, so it needs nothing but NumPy and torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import LAST_LAYER, NETWORKS
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

RATE = 0.01
"""Learning rate of the training, the weight of every checkpoint of TracIn."""
DAMPING = 0.1
"""Added to the curvature of influence functions, absolute."""
RELATIVE_DAMPING = 0.1
"""In units of the mean squared entry of a layer's gradients for DataInf, and of a layer's mean eigenvalue for EK-FAC."""
TRAK_DAMPING = 0.1
"""Added to the Gram matrix of TRAK, in units of its mean diagonal."""
REGULARISATION = 0.003
"""Of the last layer that RPS fits."""
COST = 0.1
"""C of the support vector machine of DualDA, in units of 1 / mean squared norm of a representation."""
NEIGHBOURS = 10
"""K of KNN-Shapley."""
RANK, ITERATIONS = 30, 50
"""Eigenvectors that Arnoldi iteration keeps, and its number of products with the curvature."""
DEPTH, LISSA_BATCH = 500, 32
"""Steps of LiSSA, and examples per step."""
_TINY = (16, 4)
"""Examples and queries of the call that comes before the measured one, so that no import is measured."""


@dataclass(frozen=True)
class Problem:
    """A trained model with its data.

    Attributes:
        folder: folder of the models of the network.
        network: name of the network.
        x_train: inputs of the training examples, (n_train, ...).
        y_train: their labels, (n_train,).
        x_query: inputs of the queries, (n_query, ...).
        y_query: their labels, (n_query,).
        scratch: empty folder for files of the library.
    """

    folder: Path
    network: str
    x_train: Tensor
    y_train: Tensor
    x_query: Tensor
    y_query: Tensor
    scratch: Path

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the state dict of a file, such as ``model-0``."""
        with np.load(self.folder / f"{name}.npz") as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored.files}

    @cached_property
    def states(self) -> list[dict[str, Tensor]]:
        """State dicts of the ten models."""
        return [self.state(f"model-{index}") for index in range(10)]

    @cached_property
    def checkpoints(self) -> list[dict[str, Tensor]]:
        """State dicts of the first model along its training, the final one last."""
        return [self.state(f"checkpoint-{index}") for index in range(4)]

    @cached_property
    def model(self) -> nn.Module:
        """The first model."""
        model = NETWORKS[self.network]()
        model.load_state_dict(self.states[0])
        return model.eval()

    @property
    def last_layer(self) -> str:
        """Name of the last linear layer."""
        return LAST_LAYER[self.network]

    @property
    def train(self) -> TensorDataset:
        """The training examples as a dataset."""
        return TensorDataset(self.x_train, self.y_train)

    @property
    def query(self) -> TensorDataset:
        """The queries as a dataset."""
        return TensorDataset(self.x_query, self.y_query)

    def loaders(self, batch: int | None = None) -> tuple[DataLoader, DataLoader]:
        """Return unshuffled loaders of training examples and queries; of all rows at once without ``batch``."""
        return (
            DataLoader(self.train, batch or len(self.y_train)),
            DataLoader(self.query, batch or len(self.y_query)),
        )

    def constants(self) -> Any:
        """Return absolute dampings for the libraries that take no relative ones, from the first 500 examples."""
        return np.load(self.folder / "constants.npz")

    def retrainings(self) -> tuple[Tensor, Tensor]:
        """Return masks (subsets, n_train) and targets (subsets, n_query) of retrainings on random halves."""
        with np.load(self.folder / "retrainings.npz") as stored:
            masks, targets = torch.from_numpy(stored["masks"]), torch.from_numpy(stored["targets"])
        return masks[:, : len(self.y_train)], targets[:, : len(self.y_query)]

    @property
    def similarities(self) -> Tensor:
        """Inner products of the inputs, (n_query, n_train), the scores whose LDS is computed."""
        return self.x_query.flatten(1) @ self.x_train.flatten(1).T

    def first(self, n_train: int, n_query: int) -> Problem:
        """Return the problem of the first examples and queries."""
        rows, columns = slice(n_train), slice(n_query)
        return replace(
            self,
            x_train=self.x_train[rows],
            y_train=self.y_train[rows],
            x_query=self.x_query[columns],
            y_query=self.y_query[columns],
        )


def load(folder: Path, scratch: Path) -> Problem:
    """Return the problem of all examples and queries in ``folder``."""
    with np.load(folder / "data.npz") as data:
        rows = {name: torch.from_numpy(data[name]) for name in ("x_train", "y_train", "x_query", "y_query")}
    return Problem(folder, folder.name, **rows, scratch=scratch)


Call = Callable[[Problem], Tensor]
"""A method of a library: from a problem to scores (n_query, n_train), positive for proponents."""


def main(methods: Mapping[str, Call], *packages: str) -> None:
    """Run one method on one problem, as the command line says, and write scores and measurements.

    Args:
        methods: calls by name of the method.
        packages: distributions whose versions are recorded.
    """
    start = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=methods)
    parser.add_argument("folder", type=Path, help="folder of the network's models")
    parser.add_argument(
        "output", type=Path, help="npz file of the scores; measurements go into the json file next to it"
    )
    parser.add_argument("--train", type=int, required=True)
    parser.add_argument("--query", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--limit", type=float, default=120, help="seconds after which the process ends itself"
    )
    parser.add_argument("--memory-mib", type=int, default=8000)
    parser.add_argument("--scratch", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (given.memory_mib * 2**20, resource.RLIM_INFINITY))
    problem = load(given.folder, given.scratch).first(given.train, given.query)
    call = methods[given.method]
    warm_up(call, problem)
    problem = replace(problem, scratch=given.scratch / "measured")
    problem.scratch.mkdir()
    problem.model, problem.states, problem.checkpoints  # noqa: B018 - a user has them already
    ready = time.perf_counter() - start
    scores, record = measured(call, problem, given.limit)
    expected = (1, given.query) if given.method == "lds" else (given.query, given.train)
    assert scores.shape == expected, f"scores have the shape {tuple(scores.shape)}, not {expected}"
    np.savez(given.output, scores=scores.numpy())
    record["start_seconds"] = ready
    record["versions"] = {name: version(name) for name in ("torch", *packages)}
    given.output.with_suffix(".json").write_text(json.dumps(record))


def warm_up(call: Call, problem: Problem) -> None:
    """Call a method on a few examples, so that imports are not measured; errors of so small a problem are no matter."""
    tiny = replace(problem.first(*_TINY), scratch=problem.scratch / "tiny")
    tiny.scratch.mkdir()
    try:
        call(tiny)
    except ImportError:
        raise
    except Exception as error:
        print(f"the call on a few examples failed: {error}", file=sys.stderr)


def measured(call: Call, problem: Problem, limit: float) -> tuple[Tensor, dict[str, Any]]:
    """Return the scores, and seconds, CPU seconds and peak memory (MiB above what the process had before) of the call.

    After ``limit`` seconds SIGALRM, which nobody handles, ends the process.
    """
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the largest resident set, VmHWM
    signal.setitimer(signal.ITIMER_REAL, limit)
    start, cpu = time.perf_counter(), time.process_time()
    scores = call(problem)
    record = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    signal.setitimer(signal.ITIMER_REAL, 0)
    return scores.detach(), {**record, "peak_mib": _resident("VmHWM") - before}


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
