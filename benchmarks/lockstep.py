"""Training several models: this library against two ordinary loops, for five kinds of networks, in one interleaved run.

    python benchmarks/lockstep.py                          # all five networks
    python benchmarks/lockstep.py --networks lstm gpt      # some of them
    python benchmarks/lockstep.py --jobs 1 --threads 2     # one process with two threads

Both loops train one model at a time. *Written* is the loop of most training scripts: a shuffling ``DataLoader`` over a
``TensorDataset``, and ``torch.optim.SGD`` with its defaults. *Tuned* gathers each batch from the tensors by the indices
of its examples, and uses torch's fused SGD. The tuned loop and this library train the same models (seed and order of the
batches) on random numbers, and the parameters of the first model are compared at the end (*apart*; BERT-mini draws other
dropout masks); rounding grows along a training. This library's time includes the building of models and the passes that
check them before the first step.

Each way runs in ``--jobs`` processes of its own with ``--threads`` threads; all keep freed memory, as the jobs of this
library do (``steps/io/process.py``). The ways take turns (``--rounds``), so that all see the same neighbours on a shared
machine. Times are seconds per model, the least of all rounds: wall time divided by the models of all jobs, and processor
time, which a busy machine disturbs less. Ratios are the loop's time divided by this library's: the median over the
rounds, with the least and the largest. ``GEMM`` is the processor time that the necessary matrix products would take at
the speed of a product of two 2048 x 2048 matrices in the same run, as a share of the processor time (networks of linear
layers only): what a faster engine could still gain.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from proponent.config.recipe_schema import RecipeConfig
from proponent.settings.models import mlp, resnet9
from proponent.settings.tasks import get_task
from proponent.steps.io.process import keep_freed_memory
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.stages import epoch_order, stages_of

RECIPE = RecipeConfig(lr=0.01, momentum=0.9, batch_size=64, epochs=1)
VOCABULARY, LENGTH = 100, 64


class LSTMClassifier(nn.Module):
    """One LSTM layer over embedded tokens, and a linear layer on its last output."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.lstm = nn.LSTM(64, width, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, 4)."""
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class GPT(nn.Module):
    """Four pre-norm transformer blocks with causal attention; the outputs are the logits of the next token."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 4, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, length, vocabulary)."""
        hidden = self.tokens(tokens) + self.positions.weight
        return self.head(self.blocks(hidden, mask=self.mask, is_causal=True))


class BERTMini(nn.Module):
    """BERT-mini's encoder (4 layers, width 256, 4 heads, 30522 tokens) with a classifier on the first position."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(30522, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.1, activation="gelu", batch_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, 4)."""
        hidden = self.norm(self.tokens(tokens) + self.positions.weight)
        return self.head(self.encoder(hidden)[:, 0])


@dataclass(frozen=True)
class Network:
    """A network, its data and its number of models.

    Attributes:
        make: returns a new network.
        data: function from the number of examples to inputs and labels.
        task: name of the task.
        examples: number of training examples.
        models: models per round for this library.
        alone: models per round for the loops, whose time per model does not depend on their number.
        recipe: optimiser, batch size and length.
    """

    make: Callable[[], nn.Module]
    data: Callable[[int], tuple[Tensor, Tensor]]
    examples: int
    models: int
    alone: int
    task: str = "classification"
    recipe: RecipeConfig = field(default_factory=lambda: RECIPE)

    def build(self, seed: int) -> nn.Module:
        """Return a new network."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make()


def _pictures(n: int) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, 28, 28), torch.randint(10, (n,))


def _vectors(n: int) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 784), torch.randint(10, (n,))


def _tokens(n: int) -> tuple[Tensor, Tensor]:
    return torch.randint(VOCABULARY, (n, LENGTH)), torch.randint(4, (n,))


def _text(n: int) -> tuple[Tensor, Tensor]:
    x = torch.randint(VOCABULARY, (n, LENGTH))
    return x, x.roll(-1, 1)


NETWORKS = {
    "mlp": Network(lambda: mlp(784, [128, 64], 10), _vectors, 2250, 48, 6, recipe=replace(RECIPE, epochs=20)),
    "resnet9": Network(
        lambda: resnet9(1, 10, width=16), _pictures, 640, 2, 1, recipe=replace(RECIPE, epochs=4)
    ),
    "lstm": Network(LSTMClassifier, _tokens, 1280, 4, 2, recipe=replace(RECIPE, epochs=3)),
    "gpt": Network(GPT, _text, 640, 4, 2, task="language-model", recipe=replace(RECIPE, epochs=2)),
    "bert-mini": Network(BERTMini, _tokens, 640, 2, 1),
}


def lockstep(network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train with this library, and return the parameters of the first model."""
    runs = [Run(seed, seed) for seed in range(network.models)]
    with contextlib.redirect_stderr(io.StringIO()):
        trained = train(
            network.build, x, y, get_task(network.task), network.recipe, runs, lockstep=network.models
        )
    return [trained.state[name][0] for name, _ in trained.template.named_parameters()]


def tuned(network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train one model after the other by a tuned loop, and return the parameters of the first."""

    def batches(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        (stage,) = stages_of(network.recipe, run, len(x))
        for epoch in range(network.recipe.epochs or 0):
            for batch in epoch_order(run, stage, epoch).split(network.recipe.batch_size):
                yield x[batch], y[batch]

    return _one_by_one(network, batches, fused=True)


def written(network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train one model after the other by a loop as it is usually written, and return the parameters of the first."""
    loader = DataLoader(TensorDataset(x, y), network.recipe.batch_size, shuffle=True)

    def batches(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        torch.manual_seed(run.order_seed)
        for _ in range(network.recipe.epochs or 0):
            yield from loader

    return _one_by_one(network, batches, fused=None)


def _one_by_one(
    network: Network, batches: Callable[[Run], Iterator[tuple[Tensor, Tensor]]], *, fused: bool | None
) -> list[Tensor]:
    found, recipe = [], network.recipe
    for seed in range(network.alone):
        model = network.build(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, fused=fused)
        for inputs, labels in batches(Run(seed, seed)):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten()).backward()
            optimizer.step()
        found.append([parameter.detach() for parameter in model.parameters()])
    return found[0]


Way = Callable[[Network, Tensor, Tensor], list[Tensor]]


def _child(way: Way, name: str, threads: int, pipe: Any) -> None:
    """Train once per message, and answer with the times, the peak memory and the first parameters."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    network = NETWORKS[name]
    x, y = network.data(network.examples)
    before = _resident("VmRSS")
    models = network.models if way is lockstep else network.alone
    while pipe.recv():
        start, start_processor = time.perf_counter(), time.process_time()
        trained = way(network, x, y)
        seconds, processor = time.perf_counter() - start, time.process_time() - start_processor
        corner = [value.flatten()[:1000].tolist() for value in trained]
        pipe.send((seconds / models, processor / models, _resident("VmHWM") - before, corner))


def _resident(field_name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field_name)) / 1024


class Processes:
    """Processes that train one way at the same time.

    Args:
        way: function to run.
        name: network.
        jobs: number of processes.
        threads: threads of each.
    """

    def __init__(self, way: Way, name: str, jobs: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        for _ in range(jobs):
            pipe, other = context.Pipe()
            context.Process(target=_child, args=(way, name, threads, other), daemon=True).start()
            other.close()
            self._pipes.append(pipe)
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.memory = 0.0
        self.corner: list[list[float]] = []
        self._train()
        self.seconds.clear()
        self.processor.clear()

    def _train(self) -> None:
        for pipe in self._pipes:
            pipe.send(True)
        answers = [pipe.recv() for pipe in self._pipes]
        self.seconds.append(max(answer[0] for answer in answers) / len(answers))
        self.processor.append(statistics.mean(answer[1] for answer in answers))
        self.memory = max(answer[2] for answer in answers)
        self.corner = answers[0][3]

    def round(self) -> None:
        """Train in all processes at the same time, and note the times per model."""
        self._train()

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            pipe.send(False)


def gemm_seconds() -> float:
    """Return the processor seconds per operation of a large matrix product."""
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    start = time.process_time()
    left @ right
    return (time.process_time() - start) / (2 * 2048**3)


def operations(network: Network) -> float | None:
    """Return the operations of the matrix products that train a model; None if not all layers are linear."""
    layers = [
        module for module in network.make().modules() if next(module.parameters(False), None) is not None
    ]
    if not all(isinstance(layer, nn.Linear) for layer in layers):
        return None
    weights = [cast(Tensor, layer.weight).numel() for layer in layers]
    # Forward pass, gradient of the weights, and, after the first layer, gradient of the inputs.
    per_example = 2 * (2 * weights[0] + 3 * sum(weights[1:]))
    return per_example * network.examples * (network.recipe.epochs or 0)


WAYS: dict[str, Way] = {"written": written, "tuned": tuned, "ours": lockstep}


def compare(name: str, rounds: int, jobs: int, threads: int) -> None:
    """Print one row per way: times, ratios, share of the speed of a matrix product, memory and agreement."""
    ways = {label: Processes(way, name, jobs, threads) for label, way in WAYS.items()}
    product = float("inf")
    for _ in range(rounds):
        product = min(product, gemm_seconds())
        for processes in ways.values():
            processes.round()
    ours, needed = ways["ours"], operations(NETWORKS[name])
    for label, processes in ways.items():
        row = f"{name:10} {label:8} {min(processes.seconds):9.4f} {min(processes.processor):9.4f}"
        for mine, other in ((ours.seconds, processes.seconds), (ours.processor, processes.processor)):
            row += f" {'' if processes is ours else _ratios(other, mine):>19}"
        share = f"{needed * product / min(processes.processor):.0%}" if needed else ""
        row += f" {share:>5} {processes.memory:6.0f}"
        if processes is ours:
            row += f" {_difference(ours.corner, ways['tuned'].corner):9.1e}"
        print(row, flush=True)
    for processes in ways.values():
        processes.close()


def _ratios(numerators: list[float], denominators: list[float]) -> str:
    """Return the median of the ratios, with the least and the largest."""
    found = [one / other for one, other in zip(numerators, denominators, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _difference(parameters: list[list[float]], others: list[list[float]]) -> float:
    """Return the largest difference of two lists of parameters."""
    pairs = zip(parameters, others, strict=True)
    return max((torch.tensor(mine) - torch.tensor(other)).abs().max().item() for mine, other in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the networks that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5, help="times that the ways take turns")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        f"{options.jobs} job(s) of {options.threads} thread(s), {options.rounds} round(s); seconds per model; ratio = time "
        "of the loop / ours, median (least-largest)"
    )
    print(
        f"{'network':10} {'way':8} {'wall s':>9} {'core s':>9} {'wall ratio':>19} {'core ratio':>19} {'GEMM':>5} {'MiB':>6} "
        f"{'apart':>9}"
    )
    for name in options.networks:
        compare(name, options.rounds, options.jobs, options.threads)


if __name__ == "__main__":
    main()
