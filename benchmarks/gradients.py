"""Inner products of gradients: speed, memory, growth with n, and the same work done by dattri.

    python benchmarks/gradients.py                 # this library only
    python benchmarks/gradients.py --peer          # and dattri, which must be installed (pip install dattri)

The work is GradDot on MNIST-5k with a 784-128-64-10 network: inner products of the loss gradients of all training
examples and queries, from a loaded model to the matrix (n_train, n_query). With ``--checkpoints K`` the work is TracIn
over K models. Each measurement runs in a process of its own, one after the other, with the same number of threads. The
table shows the best of ``--repeats``, and the largest resident set above that of a process which only loads model and
data. dattri runs twice: with the batches of 500 and the projection to 512 dimensions of its own benchmark (its
default), and exactly, without a projection.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.settings.datasets import mnist5k
from proponent.settings.models import mlp
from proponent.settings.tasks import get_task

State = dict[str, Tensor]
PEER_BATCH = 500


def problem(n_train: int, n_query: int, checkpoints: int) -> tuple[nn.Module, list[State], list[Tensor]]:
    """Return the network, its checkpoints (one epoch of SGD apart), and x, y of training set and queries."""
    torch.manual_seed(0)
    split = mnist5k()
    (x, y), (x_query, y_query) = split.train, split.query
    x, x_query = (torch.as_tensor(part, dtype=torch.float32).flatten(1) for part in (x, x_query))
    y, y_query = (torch.as_tensor(part, dtype=torch.int64) for part in (y, y_query))
    repeats = -(-n_train // len(x))
    noise = torch.rand(repeats * len(x), x.shape[1]) * 1e-3  # so that repeated images are not the same bytes
    x = x.repeat(repeats, 1) + noise
    module = mlp(784, [128, 64], 10)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    states = []
    for _ in range(checkpoints):
        for rows in torch.randperm(4500)[:4480].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
        states.append({name: value.clone() for name, value in module.state_dict().items()})
    return module, states, [x[:n_train], y.repeat(repeats)[:n_train], x_query[:n_query], y_query[:n_query]]


def ours(module: nn.Module, states: list[State], data: list[Tensor]) -> Tensor:
    """Return the sum over checkpoints of the inner products, with this library."""
    x, y, x_query, y_query = data
    task = get_task("classification")
    total = torch.zeros(len(x), len(x_query))
    for state in states:
        module.load_state_dict(state)
        capture = Capture(module, x[:1])
        train, out = capture.all_gradients(x, y, target_cotangents(task))
        query, out_query = capture.all_gradients(x_query, y_query, target_cotangents(task))
        weights = task.loss_weight(out, y)[:, None] * task.loss_weight(out_query, y_query)
        total += train.inner(query) * weights
    return total


def ours_gram(module: nn.Module, states: list[State], data: list[Tensor]) -> Tensor:
    """Return all inner products of training gradients at the last checkpoint."""
    module.load_state_dict(states[-1])
    block, _ = Capture(module, data[0][:1]).all_gradients(
        *data[:2], target_cotangents(get_task("classification"))
    )
    return block.inner(block)


def written_out(module: nn.Module, states: list[State], data: list[Tensor]) -> Tensor:
    """Return the same as :func:`ours` with ``torch.func.vmap(grad)`` and one matrix product per 500 examples."""

    def loss(parameters: State, one: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            torch.func.functional_call(module, parameters, (one[None],)), label[None]
        )

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    x, y, x_query, y_query = data
    total = torch.zeros(len(x), len(x_query))
    for state in states:
        query = torch.cat([part.flatten(1) for part in gradients(state, x_query, y_query).values()], 1)
        for start in range(0, len(x), PEER_BATCH):
            rows = slice(start, start + PEER_BATCH)
            train = torch.cat([part.flatten(1) for part in gradients(state, x[rows], y[rows]).values()], 1)
            total[rows] += train @ query.T
    return total


def dattri_exact(module: nn.Module, states: list[State], data: list[Tensor]) -> Tensor:
    """Return the same with dattri, exactly."""
    return _dattri(module, states, data, projected=False)


def dattri_default(module: nn.Module, states: list[State], data: list[Tensor]) -> Tensor:
    """Return a sketch of the same with the default of dattri: gradients projected to 512 dimensions."""
    return _dattri(module, states, data, projected=True)


def _dattri(module: nn.Module, states: list[State], data: list[Tensor], projected: bool) -> Tensor:
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader, TensorDataset

    def loss(parameters: State, pair: tuple[Tensor, Tensor]) -> Tensor:
        one, label = pair
        outputs = torch.func.functional_call(module, parameters, one.unsqueeze(0))
        return nn.functional.cross_entropy(outputs, label.unsqueeze(0))

    task = AttributionTask(loss_func=loss, model=module, checkpoints=states)
    attributor = TracInAttributor(task=task, weight_list=torch.ones(len(states)), normalized_grad=False)
    if not projected:
        attributor.projector_kwargs = None
    loaders = [DataLoader(TensorDataset(*data[at : at + 2]), batch_size=PEER_BATCH) for at in (0, 2)]
    return attributor.attribute(*loaders)


def _child(
    work: Callable[..., Tensor], sizes: tuple[int, int, int], threads: int, repeats: int, pipe: Any
) -> None:
    torch.set_num_threads(threads)
    made = problem(*sizes)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the largest resident set
    seconds, result = [], torch.zeros(0)
    for _ in range(repeats):
        result = torch.zeros(0)  # releases the last result, so that its memory is not counted
        start = time.perf_counter()
        result = work(*made)
        seconds.append(time.perf_counter() - start)
    pipe.send((min(seconds), _resident("VmHWM") - before, result.detach()[:200, :200].tolist()))


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(
    work: Callable[..., Tensor], sizes: tuple[int, int, int], threads: int, repeats: int
) -> tuple[float, float, Tensor]:
    """Return the best seconds, the MiB and a corner of the result of some work, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, sizes, threads, repeats, sender))
    process.start()
    sender.close()
    try:
        seconds, peak, corner = receiver.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed, see above") from None
    process.join()
    return seconds, peak, torch.tensor(corner)


def compare(sizes: tuple[int, int, int], threads: int, repeats: int, peer: bool) -> None:
    """Print seconds, memory and agreement of each implementation of the work."""
    reference_seconds, peak, reference = measure(ours, sizes, threads, max(3, repeats))
    print(f"{sizes[0]} x {sizes[1]} inner products, {sizes[2]} checkpoint(s), {threads} thread(s)")
    print(f"{'':18} {'seconds':>9} {'ratio':>7} {'MiB':>9} {'difference':>11} {'correlation':>12}")
    print(f"{'proponent':18} {reference_seconds:9.3f} {1:7.1f} {peak:9.0f}")
    for work in [written_out, *([dattri_exact, dattri_default] if peer else [])]:
        seconds, peak, corner = measure(work, sizes, threads, repeats)
        difference = ((corner - reference).abs().max() / reference.abs().max()).item()
        correlation = torch.corrcoef(torch.stack([corner.flatten(), reference.flatten()]))[0, 1].item()
        if work is not dattri_default and difference > 1e-5:
            raise SystemExit(f"{work.__name__} differs by {difference:.1e}: the work is not the same")
        ratio = seconds / reference_seconds
        print(
            f"{work.__name__:18} {seconds:9.3f} {ratio:7.1f} {peak:9.0f} {difference:11.1e}"
            f" {correlation:12.4f}"
        )


def grow(n_query: int, threads: int) -> None:
    """Print seconds and memory of this library for more and more training examples."""
    print(f"\n{'n_train':>8} {'cross, s':>9} {'MiB':>9} {'gram, s':>9} {'MiB':>9}")
    for n_train in (1125, 2250, 4500, 9000):
        sizes = (n_train, n_query, 1)
        cross, peak, _ = measure(ours, sizes, threads, 3)
        gram, gram_peak, _ = measure(ours_gram, sizes, threads, 2)
        print(f"{n_train:8} {cross:9.3f} {peak:9.0f} {gram:9.3f} {gram_peak:9.0f}")


def main() -> None:
    """Run the measurements that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=4500)
    parser.add_argument("--query", type=int, default=500)
    parser.add_argument("--checkpoints", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", action="store_true", help="measure dattri too")
    parser.add_argument("--growth", action="store_true", help="measure growth with n too")
    chosen = parser.parse_args()
    compare((chosen.train, chosen.query, chosen.checkpoints), chosen.threads, chosen.repeats, chosen.peer)
    if chosen.growth:
        grow(chosen.query, chosen.threads)


if __name__ == "__main__":
    main()
