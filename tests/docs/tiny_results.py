"""Scores of every method on settings of thirty examples, made by the jobs of a plan in this process, without Snakemake."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from proponent.config.benchmark import load_benchmark
from proponent.plan.run_plan import Plan
from workflow.checkout import REPOSITORY
from workflow.this_process import make_artefact

MODULE = "formula_factories"
"""A name of its own: factories of other tests' checkouts may be imported in the same process."""
STEPS = {"data", "check", "train", "retrain", "ground_truth", "featurize", "attribute"}

FACTORIES = '''"""Data and models of the settings on which the documented formulas are tested."""

import torch

from proponent.settings import Split


def blobs() -> Split:
    """Three overlapping Gaussian blobs in the plane; examples and queries of every class."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(36) % 3
    x = torch.randn(36, 2, generator=generator) + torch.stack([y == 1, y == 2], dim=1).float()
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]))


def texts() -> Split:
    """Rows of four to six of twelve tokens, 0 = padding, whose frequency depends on the label."""
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(36) % 3
    x = 1 + (torch.randint(0, 6, (36, 6), generator=generator) + 3 * y[:, None]) % 12
    x[::2, 4:] = 0
    names = ["[PAD]", *"one two three four five six seven eight nine ten eleven twelve".split()]
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]), class_names=list("abc"), token_names=names)


def net() -> torch.nn.Module:
    """Five hidden units."""
    return torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


class Words(torch.nn.Module):
    """The mean embedding of the tokens, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(13, 4, padding_idx=0)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        """Return the logits (n, 3)."""
        kept = (x > 0).float()[..., None]
        return self.head(torch.tanh((self.embedding(x) * kept).sum(1) / kept.sum(1)))
'''

SETTING = """\
dataset: {{factory: "{module}:{dataset}"}}
model: {{factory: "{module}:{model}"}}
task: classification
recipe: {{{recipe}, epochs: 8, batch_size: 10}}
ensemble: {{members: 2, checkpoints: 4}}
designs: {{fit: {{count: 12}}, permutations: {{count: 4, fraction: 0.1}}}}
queries: {{tune: 2, test: 4}}
{more}
"""
SGD = "optimizer: sgd, lr: 0.3, momentum: 0.5, weight_decay: 0.01"
PLAIN = "optimizer: sgd, lr: 0.3, momentum: 0.0, weight_decay: 0.0"
ADAM = "optimizer: adamw, lr: 0.02, momentum: 0.0, weight_decay: 0.01"
SETTINGS = {
    "formulas": SETTING.format(module=MODULE, dataset="blobs", model="net", recipe=SGD, more=""),
    "formulas-plain": SETTING.format(module=MODULE, dataset="blobs", model="net", recipe=PLAIN, more=""),
    "formulas-adam": SETTING.format(module=MODULE, dataset="blobs", model="net", recipe=ADAM, more=""),
    "formulas-texts": SETTING.format(
        module=MODULE, dataset="texts", model="Words", recipe=PLAIN, more="inputs: tokens"
    ),
}


def make_results(root: Path, methods: Mapping[str, Sequence[str]], variants: Mapping[str, str]) -> None:
    """Lay out a checkout below ``root`` and make the scores of ``methods`` (by setting) in this process.

    Args:
        root: folder of the checkout.
        methods: names of methods, by setting.
        variants: further files of configs/methods/, by name; empty text for averages, which need no file.

    Raises:
        UserError: the configuration is refused, or a method refuses to run.
    """
    root.mkdir(parents=True)
    for name in ("src", "workflow", "Snakefile"):
        (root / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    (root / f"{MODULE}.py").write_text(FACTORIES)
    for name, text in SETTINGS.items():
        (root / f"configs/settings/{name}.yaml").write_text(text)
    for name, text in variants.items():
        if text:
            (root / f"configs/methods/{name}.yaml").write_text(f"description: a documented choice\n{text}")
    sys.path.insert(0, str(root))
    try:
        with contextlib.chdir(root):
            for setting, names in methods.items():
                (root / "params.yaml").write_text(
                    f"settings: [{setting}]\nmethods: [{', '.join(names)}]\nmetrics: []\n"
                )
                for node in Plan(load_benchmark(root, {})).graph.nodes.values():
                    if node.step in STEPS:
                        make_artefact(root, node)
    finally:
        sys.path.remove(str(root))
