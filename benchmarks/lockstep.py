"""Training several models: this library against an ordinary loop, for five kinds of networks, in one interleaved run.

    python benchmarks/lockstep.py                          # all five networks
    python benchmarks/lockstep.py --networks lstm gpt      # some of them
    python benchmarks/lockstep.py --jobs 1 --threads 2     # one process with two threads

The ordinary loop trains one model at a time as one writes it by hand: batches indexed from a tensor, ``zero_grad``,
``backward`` and torch's fused SGD. Both ways train the same models (seed and order of the batches) on random numbers,
and the parameters of the first model are compared at the end (BERT-mini draws other dropout masks); rounding grows along
a training. This library's time includes the building of models and the passes that check them before the first step.

Each way runs in ``--jobs`` processes of its own with ``--threads`` threads; those of this library keep freed memory, as its
jobs do (``steps/io/process.py``). The two ways take turns (``--rounds``), so
that both see the same neighbours on a shared machine. Times are seconds per model: wall time divided by the models of
all jobs, and processor time, which a busy machine disturbs less. The ratio is the median over the rounds. ``GEMM`` is the
processor time that the necessary matrix products would take at the speed of a product of two 2048 x 2048 matrices in
the same process, as a share of the processor time (networks of linear layers only): what a faster engine could still gain.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proponent.config.schema import RecipeConfig
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
        alone: models per round for the ordinary loop, whose time per model does not depend on their number.
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
    "mlp": Network(lambda: mlp(784, [128, 64], 10), _vectors, 2250, 50, 4, recipe=replace(RECIPE, epochs=20)),
    "resnet9": Network(
        lambda: resnet9(1, 10, width=16), _pictures, 640, 2, 1, recipe=replace(RECIPE, epochs=4)
    ),
    "lstm": Network(LSTMClassifier, _tokens, 1280, 4, 2, recipe=replace(RECIPE, epochs=3)),
    "gpt": Network(GPT, _text, 640, 4, 2, task="language-model", recipe=replace(RECIPE, epochs=2)),
    "bert-mini": Network(BERTMini, _tokens, 640, 2, 1, recipe=replace(RECIPE, epochs=2)),
}


def lockstep(network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train with this library, and return the parameters of the first model."""
    runs = [Run(seed, seed) for seed in range(network.models)]
    with contextlib.redirect_stderr(io.StringIO()):
        trained = train(
            network.build, x, y, get_task(network.task), network.recipe, runs, lockstep=network.models
        )
    return [trained.state[name][0] for name, _ in trained.template.named_parameters()]


def ordinary(network: Network, x: Tensor, y: Tensor) -> list[Tensor]:
    """Train one model after the other, and return the parameters of the first."""
    first, *_ = [_ordinary(network, Run(seed, seed), x, y) for seed in range(network.alone)]
    return first


def _ordinary(network: Network, run: Run, x: Tensor, y: Tensor) -> list[Tensor]:
    model, recipe = network.build(run.init_seed), network.recipe
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, fused=True)
    (stage,) = stages_of(recipe, run, len(x))
    for epoch in range(recipe.epochs or 0):
        for batch in epoch_order(run, stage, epoch).split(recipe.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]).flatten(0, -2), y[batch].flatten()).backward()
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


Way = Callable[[Network, Tensor, Tensor], list[Tensor]]


def _child(way: Way, name: str, threads: int, pipe: Any) -> None:
    """Train once per message, and answer with the times, the peak memory and the first parameters."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    if way is lockstep:
        keep_freed_memory()  # as every job does
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


def gemm_seconds(network: Network) -> float | None:
    """Return the processor seconds of a model's matrix products at the speed of a large product; None if not all linear."""
    layers = [
        module for module in network.make().modules() if next(module.parameters(False), None) is not None
    ]
    if not all(isinstance(layer, nn.Linear) for layer in layers):
        return None
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        left @ right
        best = min(best, time.process_time() - start)
    weights = [layer.weight.numel() for layer in layers]
    # Forward pass, gradient of the weights, and, after the first layer, gradient of the inputs.
    per_example = 2 * (2 * weights[0] + 3 * sum(weights[1:]))
    return per_example * network.examples * (network.recipe.epochs or 0) * best / (2 * 2048**3)


def compare(name: str, rounds: int, jobs: int, threads: int) -> None:
    """Print one row: both ways, their ratios, memory and agreement."""
    ours, theirs = (Processes(way, name, jobs, threads) for way in (lockstep, ordinary))
    for _ in range(rounds):
        theirs.round()
        ours.round()
    ratios = [
        statistics.median(other / own for own, other in zip(mine, loops, strict=True))
        for mine, loops in ((ours.seconds, theirs.seconds), (ours.processor, theirs.processor))
    ]
    apart = max(
        (torch.tensor(mine) - torch.tensor(other)).abs().max().item()
        for mine, other in zip(ours.corner, theirs.corner, strict=True)
    )
    bound = gemm_seconds(NETWORKS[name])
    share = f"{bound / min(ours.processor):7.0%} {bound / min(theirs.processor):7.0%}" if bound else " " * 15
    print(
        f"{name:10} {min(theirs.seconds):9.3f} {min(ours.seconds):9.3f} {ratios[0]:6.2f} {min(theirs.processor):9.3f} "
        f"{min(ours.processor):9.3f} {ratios[1]:6.2f} {share} {theirs.memory:8.0f} {ours.memory:8.0f} {apart:9.1e}",
        flush=True,
    )
    for processes in (ours, theirs):
        processes.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the networks that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5, help="times that the two ways take turns")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{options.jobs} job(s) of {options.threads} thread(s); loop = ordinary loop, ours = this library")
    print(
        f"{'':10} {'wall s per model':^19} {'':6} {'core s per model':^19} {'':6} {'share of GEMM':^15} {'MiB per job':^17}"
    )
    print(
        f"{'network':10} {'loop':>9} {'ours':>9} {'ratio':>6} {'loop':>9} {'ours':>9} {'ratio':>6} {'ours':>7} {'loop':>7} "
        f"{'loop':>8} {'ours':>8} {'apart':>9}"
    )
    for name in options.networks:
        compare(name, options.rounds, options.jobs, options.threads)


if __name__ == "__main__":
    main()
