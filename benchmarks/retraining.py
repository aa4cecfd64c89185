"""Retraining on random halves of MNIST-5k: speed, memory, growth with n, and the same work done by dattri.

    python benchmarks/retraining.py                # this library and the ordinary loop
    python benchmarks/retraining.py --peer         # and dattri's own trainer (pip install dattri)
    python benchmarks/retraining.py --model lr     # logistic regression instead of the 784-128-64-10 network

Every implementation trains the same models (initialisation, subset, order of batches; recipes as dattri publishes
them), in ``--jobs`` processes of ``--threads`` threads at a time. Trainings of three epochs check that the work is the
same: a difference between parameters above 1e-4 stops the benchmark. (Rounding grows along a training; the difference
at the end is a column of the table.) Times are wall seconds per model with all jobs running, without the start of Python
and without loading data, and core seconds, which a busy machine disturbs less. The slower implementations train
``--peer-models`` models per job, since their time per model does not depend on the number of models. dattri also runs
with its default: one process with all threads.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from proponent.config.design_schema import DesignConfig
from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import RecipeConfig
from proponent.settings.datasets import mnist5k
from proponent.settings.factories import build_model
from proponent.settings.tasks import get_task
from proponent.training.designs import Run, run_at
from proponent.training.lockstep import train
from proponent.training.stack import state_dict
from proponent.training.stages import epoch_order, stages_of

BATCH = 64
MODELS = {
    "mlp": FactoryConfig(
        "proponent.settings.models:mlp", {"n_features": 784, "hidden": [128, 64], "n_classes": 10}
    ),
    "lr": FactoryConfig(
        "proponent.settings.models:logistic_regression", {"n_features": 784, "n_classes": 10}
    ),
}
RECIPES = {
    "mlp": RecipeConfig(lr=0.01, momentum=0.9, batch_size=BATCH, epochs=50),
    "lr": RecipeConfig(lr=0.01, batch_size=BATCH, epochs=20),
}
Parameters = list[Tensor]


class Work:
    """Some retrainings on halves of n examples."""

    def __init__(self, model: str, n: int, epochs: int | None, first: int, count: int, lockstep: int) -> None:
        split = mnist5k()
        x, y = (torch.as_tensor(part) for part in split.train)
        repeats = -(-n // len(x))
        self.x, self.y = x.repeat(repeats, 1)[:n], y.repeat(repeats)[:n]
        self.model, self.lockstep = model, lockstep
        self.recipe = RecipeConfig(**{**vars(RECIPES[model]), "epochs": epochs or RECIPES[model].epochs})
        design = DesignConfig(count=first + count, seeds=1)
        drawn = [run_at(design, "subsets", n, 0, index) for index in range(first, first + count)]
        # dattri passes its seed to NumPy as well, which accepts small seeds only.
        self.runs = [Run(first + index, run.order_seed, run.mask) for index, run in enumerate(drawn)]

    def build(self, seed: int) -> nn.Module:
        """Return a new model."""
        return build_model(MODELS[self.model], seed)

    def operations(self) -> float:
        """Return the floating point operations of the necessary matrix products of all trainings."""
        weights = [parameter.numel() for parameter in self.build(0).parameters() if parameter.ndim == 2]
        # Forward pass, gradient of the weights, and, after the first layer, gradient of the inputs.
        per_example = 2 * (2 * weights[0] + 3 * sum(weights[1:]))
        return per_example * sum(self.recipe.epochs * int(run.mask.sum()) for run in self.runs)


def proponent(work: Work) -> list[Parameters]:
    """Train in lockstep."""
    trained = train(
        work.build, work.x, work.y, get_task("classification"), work.recipe, work.runs, lockstep=work.lockstep
    )
    states = [state_dict(trained.template, trained.state, index) for index in range(len(work.runs))]
    return [list(state.values()) for state in states]


def ordinary(work: Work) -> list[Parameters]:
    """Train one after the other with torch.optim; batches are indexed from tensors, with no loader between."""
    return [_ordinary(work, run) for run in work.runs]


def _ordinary(work: Work, run: Run) -> Parameters:
    model = work.build(run.init_seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=work.recipe.lr, momentum=work.recipe.momentum)
    (stage,) = stages_of(work.recipe, run, len(work.x))
    for epoch in range(work.recipe.epochs):
        for batch in epoch_order(run, stage, epoch).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(work.x[batch]), work.y[batch]).backward()
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


class _Batches:
    """Batches of a run: each iteration yields those of the next epoch."""

    def __init__(self, work: Work, run: Run) -> None:
        (self._stage,) = stages_of(work.recipe, run, len(work.x))
        self._run, self._epoch = run, -1

    def __iter__(self) -> Iterator[list[int]]:
        self._epoch += 1
        for batch in epoch_order(self._run, self._stage, self._epoch).split(BATCH):
            yield batch.tolist()


def dattri(work: Work) -> list[Parameters]:
    """Train one after the other with dattri's functions, which draw the same initial parameters from the seed."""
    from dattri.benchmark.datasets.mnist import mnist_lr, mnist_mlp

    # Its network has dropout of 0.1, whose random numbers no other implementation could draw: left out everywhere.
    mnist_mlp.create_mlp_model = partial(mnist_mlp.create_mlp_model, dropout_rate=0.0)
    function = {"mlp": mnist_mlp.train_mnist_mlp, "lr": mnist_lr.train_mnist_lr}[work.model]
    data = TensorDataset(work.x, work.y)
    trained = []
    for run in work.runs:
        loader = DataLoader(data, batch_sampler=_Batches(work, run))
        model = function(loader, seed=run.init_seed, epoch_num=work.recipe.epochs)
        trained.append([parameter.detach() for parameter in model.parameters()])
    return trained


Way = Callable[[Work], list[Parameters]]


def _child(way: Way, arguments: tuple[Any, ...], threads: int, barrier: Any, pipe: Any) -> None:
    torch.set_num_threads(threads)
    work = Work(*arguments)
    plain = gemm_gflops()
    way(Work(work.model, 300, 1, 0, 2, 2))  # imports, and the initialisation of torch at first use
    ctypes.CDLL(None).malloc_trim(0)  # memory that was used for reading the data
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the largest resident set
    barrier.wait()
    start, processor_start = time.perf_counter(), time.process_time()
    trained = way(work)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    corner = [[parameter.flatten()[:2000].tolist() for parameter in model] for model in trained]
    pipe.send(
        {
            "seconds": seconds,
            "processor_seconds": processor_seconds,
            "operations": work.operations(),
            "plain": plain,
            "memory": _resident("VmHWM") - before,
            "models": corner,
        }
    )


def gemm_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Return the speed of a product of two square matrices, in 1e9 operations per core second."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    left @ right
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        left @ right
        seconds.append(time.process_time() - start)
    return 2 * size**3 / min(seconds) / 1e9


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


class Measured:
    """Measurements of ``jobs`` processes at a time, each of which trains ``count`` models."""

    def __init__(
        self,
        way: Way,
        model: str,
        n: int,
        epochs: int | None,
        count: int,
        jobs: int,
        threads: int,
        lockstep: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(jobs)
        pipes, processes = [], []
        for job in range(jobs):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (model, n, epochs, job * 1000, count, lockstep)
            processes.append(
                context.Process(target=_child, args=(way, arguments, threads, barrier, sender), daemon=True)
            )
            processes[-1].start()
            sender.close()
            pipes.append(receiver)
        try:
            answers = [pipe.recv() for pipe in pipes]
        except EOFError:
            raise SystemExit(f"{way.__name__} failed, see above") from None
        for process in processes:
            process.join()
        models = jobs * count
        processor_seconds = sum(answer["processor_seconds"] for answer in answers)
        self.seconds = max(answer["seconds"] for answer in answers) / models
        self.processor_seconds = processor_seconds / models
        self.gflops = sum(answer["operations"] for answer in answers) / processor_seconds / 1e9
        self.plain_gflops = max(answer["plain"] for answer in answers)
        self.memory = max(answer["memory"] for answer in answers)
        self.models = answers[0]["models"]

    def difference(self, other: Measured) -> float:
        """Return the largest difference between parameters of the first models of both."""
        pairs = zip(self.models, other.models, strict=False)
        return max(
            (torch.tensor(mine) - torch.tensor(theirs)).abs().max().item()
            for first, second in pairs
            for mine, theirs in zip(first, second, strict=True)
        )


def compare(options: argparse.Namespace) -> None:
    """Print seconds, memory and agreement of each implementation of the work."""
    common = {
        "model": options.model,
        "n": options.train,
        "epochs": options.epochs,
        "lockstep": options.lockstep,
    }
    ours = Measured(proponent, count=options.models, jobs=options.jobs, threads=options.threads, **common)
    print(
        f"{options.model}: halves of {options.train} examples, {options.jobs} jobs of {options.threads} thread(s)"
    )
    print(
        f"{'':26} {'models':>6} {'s/model':>10} {'ratio':>6} {'core s':>9} {'ratio':>6} {'GFLOPS/core':>14} "
        f"{'MiB/job':>10} {'difference':>11}"
    )
    _print_row(f"proponent, lockstep {options.lockstep}", options.jobs * options.models, ours, ours, "")
    ways: list[tuple[str, Way, int, int]] = [("ordinary loop", ordinary, options.jobs, options.threads)]
    if options.peer:
        together = options.jobs * options.threads
        ways += [
            ("dattri", dattri, options.jobs, options.threads),
            ("dattri, default", dattri, 1, together),
        ]
    short = {**common, "epochs": 3}
    reference = Measured(proponent, count=2, jobs=1, threads=1, **short)
    for name, way, jobs, threads in ways:
        apart = reference.difference(Measured(way, count=2, jobs=1, threads=1, **short))
        if apart > 1e-4:
            raise SystemExit(f"{name} differs by {apart:.1e} after three epochs: the work is not the same")
        theirs = Measured(way, count=options.peer_models, jobs=jobs, threads=threads, **common)
        difference = ours.difference(theirs)
        _print_row(
            f"{name} ({jobs} x {threads})", jobs * options.peer_models, theirs, ours, f"{difference:.1e}"
        )
    print(
        f"plain product of 2048 x 2048 matrices in the same processes: {ours.plain_gflops:.0f} GFLOPS per core"
    )


def _print_row(name: str, models: int, measured: Measured, ours: Measured, difference: str) -> None:
    ratio = measured.seconds / ours.seconds
    processor_ratio = measured.processor_seconds / ours.processor_seconds
    print(
        f"{name:26} {models:6} {measured.seconds:10.4f} {ratio:6.1f} {measured.processor_seconds:9.4f} "
        f"{processor_ratio:6.1f} {measured.gflops:14.0f} {measured.memory:10.0f} {difference:>11}"
    )


def grow(options: argparse.Namespace) -> None:
    """Print seconds and memory for more and more training examples, five epochs each."""
    print(f"\n{'n_train':>8} {'s/model':>10} {'core s':>9} {'GFLOPS/core':>14} {'MiB/job':>10}")
    for n in (1125, 2250, 4500, 9000, 18000):
        measured = Measured(
            proponent, options.model, n, 5, options.models, options.jobs, options.threads, options.lockstep
        )
        print(
            f"{n:8} {measured.seconds:10.4f} {measured.processor_seconds:9.4f} {measured.gflops:14.0f} "
            f"{measured.memory:10.0f}"
        )


def main() -> None:
    """Run the measurements that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument(
        "--train", type=int, default=4500, help="training examples, half of them for each model"
    )
    parser.add_argument("--epochs", type=int, help="epochs, instead of the recipe's")
    parser.add_argument("--models", type=int, default=50, help="models per job in lockstep")
    parser.add_argument(
        "--peer-models", type=int, default=4, help="models per job for the other implementations"
    )
    parser.add_argument("--lockstep", type=int, default=50, help="models trained at a time")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--peer", action="store_true", help="run dattri as well")
    parser.add_argument("--no-growth", action="store_true", help="leave out the table of growth with n")
    options = parser.parse_args()
    compare(options)
    if not options.no_growth:
        grow(options)


if __name__ == "__main__":
    main()
