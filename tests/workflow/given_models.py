"""Models that a plain torch loop trains, and a setting that takes them as they are."""

from __future__ import annotations

import subprocess
import sys

from workflow.checkout import Checkout

LOOP = '''"""An ordinary training script: three models of the toy problem, with checkpoints of the first."""

import pathlib

import torch

from toy.factories import blobs, net

data, out = blobs(), pathlib.Path("runs")
x, y = data.train


def train(seed: int, name: str, checkpoints: tuple[int, ...] = ()) -> None:
    torch.manual_seed(seed)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    for step in range(1, 31):
        optimizer.zero_grad()
        batch = torch.randperm(len(x))[:20]
        torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        if step in checkpoints:
            torch.save(model.state_dict(), out / f"{name}-{step}.pt")
    torch.save(model.state_dict(), out / f"{name}.pt")


out.mkdir()
train(0, "a", (10, 20))
train(1, "b")
train(2, "c")
'''

SETTING = """\
dataset: {factory: "toy.factories:blobs"}
model: {factory: "toy.factories:net"}
training: {optimizer: sgd, momentum: 0.5}
ensemble:
  files:
    - final: runs/a.pt
      lr: 0.2
      step: 30
      checkpoints: [{file: runs/a-10.pt, lr: 0.2, step: 10}, {file: runs/a-20.pt, lr: 0.2, step: 20}]
    - runs/b.pt
    - runs/c.pt
label_noise: {fraction: 0.1}
queries: {tune: 4, test: 5}
"""

PARAMS = """\
settings: [given]
methods: [random, graddot, graddot-3, trak, magic, tracin, datamodels]
metrics: [lds, loo, mislabel]
compute: {memory_mib: 500, members_per_job: 2}
"""


def add_given_models(checkout: Checkout) -> Checkout:
    """Train models in a checkout, and make a setting that names them the only one."""
    (checkout.root / "configs/settings/given.yaml").write_text(SETTING)
    (checkout.root / "params.yaml").write_text(PARAMS)
    (checkout.root / "train.py").write_text(LOOP)
    environment = {**checkout.environment(), "PYTHONPATH": f"{checkout.root / 'src'}:{checkout.root}"}
    subprocess.run([sys.executable, "train.py"], cwd=checkout.root, env=environment, check=True)
    return checkout
