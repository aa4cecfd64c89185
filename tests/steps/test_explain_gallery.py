"""The step ``explain_gallery``: contributions add up to pair scores, clusters are the explainer's, and cost is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import proponent
from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.plan.run_plan import Plan
from proponent.publish.figures.proponents_figure import strongest
from proponent.settings.models import mlp
from proponent.steps import explain_gallery as explain
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json
from proponent.store.manifest import read_manifest
from proponent.store.tensors import load_tensors
from proponent.trained.forward_cost import forward_operations
from steps.planned_jobs import make, one_setting

pytestmark = pytest.mark.slow

FACTORIES = '''"""Small pictures of two classes in colours, (3, 4, 4)."""

import torch

from proponent.settings import Split


def pictures() -> Split:
    """Return 40 training examples and 12 queries."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(52) % 2
    x = torch.randn(52, 48, generator=generator) + y[:, None]
    return Split(train=(x[:40], y[:40]), query=(x[40:], y[40:]), class_names=["a", "b"], image_shape=(3, 4, 4))
'''
SETTING = """
dataset: {factory: "lab_factories:pictures"}
model: {factory: "proponent.settings.models:mlp", args: {n_features: 48, hidden: [6], n_classes: 2, activation: tanh}}
task: classification
recipe: {optimizer: sgd, lr: 0.1, momentum: 0.9, epochs: 3, batch_size: 20}
ensemble: {members: 2, checkpoints: 1}
queries: {tune: 4, test: 8}
"""
METHODS = ("random", "graddot", "trak-2", "dualda", "gradcos")
PARAMS = f"""methods: [{", ".join(METHODS)}]
metrics: []
overrides: {{methods: {{dualda: {{tune: null}}, graddot: {{tune: null}}}}}}
"""
STEPS = ("data", "check", "train", "featurize", "attribute")
PATH = "results/lab/report/explanations.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout with explanations, which is the current directory."""
    root = tmp_path_factory.mktemp("explain") / "checkout"
    with one_setting(root, "lab", SETTING, FACTORIES, PARAMS) as plan:
        nodes = plan()
        for step in (*STEPS, "explain_gallery"):
            make(root, nodes, step)
        yield root, nodes


def test_the_plan_explains_the_methods_with_a_closed_form_from_what_they_used(made):
    _, nodes = made
    node = nodes[PATH]
    assert set(node.spec.methods) == {"graddot", "trak-2", "dualda", "gradcos"}
    assert nodes["results/lab/report/section.json"].named_inputs.explanations == PATH
    kinds = {Path(path).name.partition("-")[0] for path in node.named_inputs.features}
    assert {"gradients", "representations"} <= kinds
    assert "results/lab/scores/random.safetensors" not in node.inputs


def test_the_pairs_are_the_strongest_of_the_gallery(made):
    root, _ = made
    arrays = load_arrays(root / PATH)
    for method in ("graddot", "trak-2", "dualda"):
        scores = load_arrays(root / f"results/lab/scores/{method}.safetensors")["scores"]
        expected = [
            (row, example)
            for row in range(4, 12)
            for part in strongest(scores[row], explain.PAIRS)
            for example in part
        ]
        assert [tuple(pair) for pair in arrays[f"{method}/pairs"].tolist()] == expected
        for side in ("query", "train"):
            assert arrays[f"{method}/{side}"].shape == (len(expected), 4, 4)


def gradient(model: nn.Module, x: torch.Tensor, y: int, target: str) -> torch.Tensor:
    """Return the gradient of the margin of a label, or of minus the loss, by plain autograd."""
    logs = torch.log_softmax(model(x[None]), 1)[0]
    value = logs[y] - logs[1 - y] if target == "margin" else logs[y]
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(model.parameters()))])


def test_contributions_of_both_sides_add_up_to_the_score_of_the_first_model(made):
    root, _ = made
    arrays = load_arrays(root / PATH)
    results = proponent.open(root / "results/lab")
    (x, y), (x_query, y_query) = results.train, results.queries()
    model = mlp(n_features=48, hidden=[6], n_classes=2, activation="tanh")
    model.load_state_dict(load_tensors(root / "results/lab/ensemble/member-000/final.safetensors"))

    def score(query: torch.Tensor, label: int, example: torch.Tensor, own: int) -> float:
        return float(gradient(model, query, label, "margin") @ gradient(model, example, own, "loss"))

    nothing = torch.zeros(48)
    for place, (row, example) in enumerate(arrays["graddot/pairs"].tolist()[:12]):
        query, label, train, own = x_query[row], int(y_query[row]), x[example], int(y[example])
        whole = score(query, label, train, own)
        for side, without in (
            ("query", score(nothing, label, train, own)),
            ("train", score(query, label, nothing, own)),
        ):
            total = float(arrays[f"graddot/{side}"][place].sum())
            assert total == pytest.approx(whole - without, rel=0.02, abs=0.01 * abs(whole))


def test_methods_that_cannot_be_explained_have_a_reason(made):
    root, _ = made
    described = read_json((root / PATH).with_suffix(".json"))
    assert set(described["reasons"]) == {"gradcos"}
    assert "no pair score that is differentiable in closed form" in described["reasons"]["gradcos"]
    assert read_manifest(root / PATH).details["reasons"] == described["reasons"]


def test_clusters_are_those_of_the_explainer(made):
    root, _ = made
    described = read_json((root / PATH).with_suffix(".json"))
    names = [group["name"] for group in described["clusters"]]
    assert names == [
        f"{which}, by the directions of their {by}"
        for which in ("all training examples", "examples of the class a")
        for by in ("gradients", "representations")
    ]
    results = proponent.open(root / "results/lab")
    explainer = proponent.Explainer(results.attributor("graddot", cache=False))
    own = explainer.clusters(explain.CLUSTERS_OF_CLASS, label=0, exemplars=explain.EXEMPLARS)
    shown = described["clusters"][2]["clusters"]
    assert [cluster["rows"] for cluster in shown] == [list(rows) for rows in own.exemplars]
    assert {int(results.train[1][row]) for cluster in shown for row in cluster["rows"]} == {0}


def test_a_large_model_has_fewer_queries_explained_or_none(made, monkeypatch):
    root, _ = made
    results = proponent.open(root / "results/lab")
    model = mlp(n_features=48, hidden=[6], n_classes=2)
    assert forward_operations(model, torch.zeros(1, 48)) == 2 * (48 * 6 + 6 * 2)
    one_query = 600 * 2 * explain.PAIRS * 2 * 32 * explain._PASSES_PER_STEP
    for limit, queries in ((2.5 * one_query, 2), (0.5 * one_query, 0)):
        monkeypatch.setattr(explain, "_OPERATIONS", limit)
        explainer = proponent.Explainer(results.attributor("graddot", cache=False))
        if queries:
            heat = explain._explained(explainer, results, "graddot")
            assert sorted({row for row, _ in heat.pairs}) == [4, 5]
        else:
            with pytest.raises(
                UserError, match=r"would take more than .* operations; proponent query --features"
            ):
                explain._explained(explainer, results, "graddot")


def test_maps_of_large_pictures_are_added_up_in_blocks():
    values = torch.arange(100.0 * 98).view(100, 98)
    found = explain._as_map(values, (100, 98))
    assert found.shape == (34, 33)
    assert found[0, 0] == pytest.approx(float(values[:3, :3].sum()))
    assert float(found.sum()) == pytest.approx(float(values.sum()))
    assert explain._as_map(torch.ones(3, 4, 4), (3, 4, 4)).tolist() == [[3.0] * 4] * 4


def test_a_change_of_another_method_explains_nothing_again(made):
    """The heat maps are not made again where the report is."""
    root, nodes = made
    params = (root / "params.yaml").read_text()
    key = nodes[PATH].key
    try:
        (root / "params.yaml").write_text(params.replace("random,", "random, same-label,"))
        changed = Plan(load_benchmark(root, {})).graph.nodes
        assert changed[PATH].key == key
        assert changed["results/lab/report/section.json"].key != nodes["results/lab/report/section.json"].key
        earlier = params.replace("graddot: {tune: null}", "graddot: {tune: null, checkpoints: [0.5]}")
        (root / "params.yaml").write_text(earlier)
        assert Plan(load_benchmark(root, {})).graph.nodes[PATH].key != key
    finally:
        (root / "params.yaml").write_text(params)
