"""Trained models and data of the comparison: MNIST-5k, ten models per network, checkpoints, and retrainings for the LDS.

Everything is made once, by an ordinary training loop, and stored as npz files that every environment can read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from adapters.networks import NETWORKS
from numpy.typing import NDArray
from torch import Tensor, nn

from proponent.settings.datasets import mnist5k

N_TRAIN, N_QUERY = 4500, 500
MODELS = 10
SUBSETS = 50
RATE, MOMENTUM, BATCH = 0.01, 0.9, 64
EPOCHS = {"mlp": 50, "conv": 15}
CHECKPOINTS = 4


def make(folder: Path, network: str) -> None:
    """Train all models of a network, unless they are there already.

    Args:
        folder: folder of the files: ``data.npz``, ``model-0.npz`` to ``model-9.npz``, ``checkpoint-0.npz`` to
            ``checkpoint-3.npz`` (of the first model, the last one being the model itself) and, for the first network,
            ``retrainings.npz``.
        network: name in :data:`adapters.networks.NETWORKS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x, y = _data(folder, network)
    for seed in range(MODELS):
        if not (folder / f"model-{seed}.npz").exists():
            print(f"{network}: training model {seed}", file=sys.stderr)
            states = list(train(network, x[:N_TRAIN], y[:N_TRAIN], seed))
            if seed == 0:
                for index, state in enumerate(states):
                    save(folder / f"checkpoint-{index}.npz", state)
            save(folder / f"model-{seed}.npz", states[-1])
    if network == "mlp" and not (folder / "retrainings.npz").exists():
        print(f"{network}: {SUBSETS} retrainings", file=sys.stderr)
        save(folder / "retrainings.npz", _retrainings(network, x, y))


def _data(folder: Path, network: str) -> tuple[Tensor, Tensor]:
    split = mnist5k(N_TRAIN)
    x = np.concatenate([split.train[0], split.query[0]])
    y = np.concatenate([split.train[1], split.query[1]])
    if network == "conv":
        x = x.reshape(-1, 1, 28, 28)
    if not (folder / "data.npz").exists():
        rows = slice(N_TRAIN, N_TRAIN + N_QUERY)
        train = {"x_train": x[:N_TRAIN], "y_train": y[:N_TRAIN]}
        save(folder / "data.npz", {**train, "x_query": x[rows], "y_query": y[rows]})
    return torch.from_numpy(x), torch.from_numpy(y)


def train(network: str, x: Tensor, y: Tensor, seed: int) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Train one model by SGD with momentum and yield its parameters at :data:`CHECKPOINTS` equally distant epochs."""
    torch.manual_seed(seed)
    model = NETWORKS[network]()
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)
    epochs = EPOCHS[network]
    at = {epochs * (index + 1) // CHECKPOINTS for index in range(CHECKPOINTS)}
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        if epoch + 1 in at:
            yield {name: value.numpy().copy() for name, value in model.state_dict().items()}


def _retrainings(network: str, x: Tensor, y: Tensor) -> dict[str, NDArray]:
    """Return ``masks`` (subsets, n_train) of random halves and ``targets`` (subsets, n_query), margins of the queries."""
    random = np.random.default_rng(0)
    masks = np.zeros((SUBSETS, N_TRAIN), dtype=bool)
    targets = np.zeros((SUBSETS, N_QUERY), dtype=np.float32)
    model = NETWORKS[network]()
    for index, mask in enumerate(masks):
        mask[random.choice(N_TRAIN, N_TRAIN // 2, replace=False)] = True
        kept = torch.from_numpy(mask.nonzero()[0])
        *_, state = train(network, x[kept], y[kept], seed=1000 + index)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        with torch.no_grad():
            logits = model(x[N_TRAIN:]).double()
        log_p = logits.log_softmax(1).gather(1, y[N_TRAIN:, None])[:, 0]
        targets[index] = (log_p - torch.log(-torch.expm1(log_p))).numpy()
    return {"masks": masks, "targets": targets}


def save(path: Path, arrays: dict[str, NDArray]) -> None:
    """Write an npz file under a temporary name and rename it."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)
