"""Seconds of captured gradients of a recurrent layer, and of one ordinary backward pass per example.

Usage: ``OMP_NUM_THREADS=1 python benchmarks/recurrent_capture.py KIND EXAMPLES POSITIONS UNITS``, for example
``LSTM 1000 50 128``; prints seconds of CPU time, the second of two runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.settings.tasks import Classification

TOKENS, WIDTH, CLASSES = 1000, 64, 5
MEMORY_MIB = 1000
TASK = Classification()


class Reader(nn.Module):
    """Embedded tokens, a recurrent layer, and a linear map of its last output."""

    def __init__(self, kind: str, units: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, WIDTH)
        self.body = getattr(nn, kind)(WIDTH, units, batch_first=True)
        self.head = nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of tokens (n, positions)."""
        logits: Tensor = self.head(self.body(self.tokens(x))[0][:, -1])
        return logits


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of the second of two runs."""
    run()
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print both times."""
    kind, (examples, positions, units) = sys.argv[1], map(int, sys.argv[2:5])
    torch.manual_seed(0)
    model = Reader(kind, units)
    x, y = torch.randint(0, TOKENS, (examples, positions)), torch.randint(0, CLASSES, (examples,))
    parameters = list(model.parameters())

    def one_by_one() -> None:
        for row in range(examples):
            target = TASK.target(model(x[row : row + 1]), y[row : row + 1]).sum()
            torch.autograd.grad(target, parameters)

    def captured() -> object:
        return Capture(model, x[:1]).all_gradients(x, y, target_cotangents(TASK), MEMORY_MIB)

    print(f"{kind}, {examples} examples, {positions} positions, {units} units")
    print(f"captured gradients: {seconds(captured):.2f} s")
    print(f"one backward pass per example: {seconds(one_by_one):.2f} s")


if __name__ == "__main__":
    main()
