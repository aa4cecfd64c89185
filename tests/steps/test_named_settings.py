"""A setting whose inputs are a dictionary, from data to figures: scores are those of the same setting with one tensor."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from steps.planned_jobs import make, one_setting

FACTORIES = '''\
import torch

from proponent.settings import Split


def texts(n):
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(n) % 3
    rows = 1 + (torch.randint(0, 6, (n, 6), generator=generator) + 3 * y[:, None]) % 12
    return [row[: 4 + 2 * (place % 2)].tolist() for place, row in enumerate(rows)], y.tolist()


def dictionaries():
    """Rows as the datasets library gives them, with lists of different lengths."""
    rows = [{"input_ids": row, "labels": label} for row, label in zip(*texts(36))]
    return Split(train=rows[:30], query=rows[30:])


def tensors():
    """The same rows, padded by hand."""
    rows, y = texts(36)
    x = torch.tensor([row + [0] * (6 - len(row)) for row in rows])
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]))


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(13, 4)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        kept = attention_mask[..., None].float()
        return self.head(torch.tanh((self.embedding(input_ids) * kept).sum(1) / kept.sum(1)))


class Plain(Words):
    def forward(self, x):
        return super().forward(x, x > 0)
'''
METHODS = (
    "random, same-label, bm25, tfidf, similarity-cosine, graddot, tracin, tracin-we, trak, trak-lora, trak-dropout, if-cg, "
    "ekfac, logra, grass, source, magic, less, rps, dualda, knn-shapley, lava, data-oob"
)


def scores(root, dataset, model):
    setting = f"""\
dataset: {{factory: "named_factories:{dataset}"}}
model: {{factory: "named_factories:{model}"}}
inputs: tokens
recipe: {{lr: 0.3, epochs: 3, batch_size: 10}}
ensemble: {{members: 2, checkpoints: 2}}
queries: {{tune: 2, test: 4}}
"""
    with one_setting(root, "named", setting, FACTORIES, f"methods: [{METHODS}]\n") as plan:
        nodes = plan()
        made = make(root, nodes, "data", "check", "train", "featurize", "attribute")
        data = load_file(root / "results/named/data/train.safetensors")
        found = {path.split("/")[-1]: load_file(root / path) for path in made if "/scores/" in path}
        if model == "Words":
            make(root, nodes, "evaluate", "summary", "figures")
    return data, found, root


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("named")
    return scores(root / "named", "dictionaries", "Words"), scores(root / "plain", "tensors", "Plain")


@pytest.mark.slow
def test_every_method_has_the_scores_of_the_same_network_with_one_input(both):
    (_, named, _), (_, plain, _) = both
    assert set(named) == set(plain)
    assert len(named) == len(METHODS.split(","))
    for method, found in named.items():
        assert set(found) == set(plain[method]), method
        for what, values in found.items():
            scale = float(plain[method][what].abs().max())
            assert scale > 0, method
            torch.testing.assert_close(values, plain[method][what], rtol=1e-3, atol=1e-4 * scale, msg=method)


@pytest.mark.slow
def test_files_hold_one_tensor_per_input_under_its_name(both):
    (data, _, root), (plain, _, _) = both
    assert set(data) == {"input_ids", "attention_mask", "y"}
    assert torch.equal(data["input_ids"], plain["x"])
    assert torch.equal(data["attention_mask"], (plain["x"] > 0).long())
    assert (root / "results/figures/proponents-named.png").exists()
