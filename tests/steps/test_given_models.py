"""Models that a plain torch loop trained, from their files to the leaderboard."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from proponent.attributor import Attributor
from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.inspection.provenance import provenance_lines
from proponent.inspection.status import show_status
from proponent.inspection.verify import verify
from proponent.plan.current import current_artefacts
from proponent.plan.graph import Graph, Node
from proponent.plan.run_plan import Plan
from steps.planned_jobs import make, one_setting

pytestmark = pytest.mark.slow

FACTORIES = '''\
import torch
from sklearn.datasets import load_digits

from proponent.settings import Split


def thumbnails():
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).unflatten(1, (4, 2, 4, 2)).mean((2, 4)).flatten(1)
    return Split(train=(x[:80], torch.tensor(y[:80])), query=(x[80:100], torch.tensor(y[80:100])))


class Net(torch.nn.Module):
    """A network with buffers that training changes, and one that it does not."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(1 / 16))
        self.hidden = torch.nn.Linear(16, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.hidden(x * self.scale))))
'''
SETTING = """\
dataset: {factory: "digits_factories:thumbnails"}
model: {factory: "digits_factories:Net"}
label_noise: {fraction: 0.2}
queries: {tune: 5, test: 15}
"""
FILES = """\
training: {optimizer: sgd, momentum: 0.5, weight_decay: 0.01}
ensemble:
  files:
    - final: runs/a.pt
      lr: 0.1
      step: 40
      checkpoints: [{file: runs/a-10.pt, lr: 0.2, step: 10}, {file: runs/a-20.pt, lr: 0.2, step: 20}]
    - runs/lightning/*.ckpt
    - runs/folder
"""
PARAMS = """\
methods: [random, graddot, graddot-3, tracin, source, source-adam, magic, datamodels]
metrics: [lds, loo, mislabel]
compute: {memory_mib: 500, members_per_job: 2}
"""
STEPS = ("adopt_models", "check", "featurize", "attribute", "evaluate", "summary", "collect", "figures")


def train(data: tuple[torch.Tensor, torch.Tensor], seed: int, checkpoints: dict[int, Path]) -> nn.Module:
    """Train a network by an ordinary loop, saving its state after some of the steps."""
    x, y = data
    torch.manual_seed(seed)
    model = sys.modules["digits_factories"].Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5, weight_decay=0.01)
    for step in range(1, 41):
        optimizer.param_groups[0]["lr"] = 0.2 if step <= 20 else 0.1
        batch = torch.randperm(len(x))[:20]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        if step in checkpoints:
            torch.save(model.state_dict(), checkpoints[step])
    return model


def write_models(root: Path) -> None:
    """Leave three models as different trainers do: torch.save, Lightning in float64, safetensors in bfloat16."""
    data = load_file(root / "results/digits/data/train.safetensors")
    rows, runs = (data["x"], data["y"]), root / "runs"
    (runs / "lightning").mkdir(parents=True)
    (runs / "folder").mkdir()
    first = train(rows, 0, {step: runs / f"a-{step}.pt" for step in (10, 20)})
    torch.save({"epoch": 10, "model_state_dict": first.state_dict()}, runs / "a.pt")
    second = {f"model.{name}": value.double() for name, value in train(rows, 1, {}).state_dict().items()}
    torch.save({"state_dict": second, "global_step": 40}, runs / "lightning/last.ckpt")
    third = train(rows, 2, {}).bfloat16().state_dict()
    save_file(third, runs / "folder/model.safetensors")
    (runs / "folder/trainer_state.json").write_text("{}")


@dataclass
class Checkout:
    """A checkout whose jobs run in this process."""

    root: Path

    def plan(self) -> Plan:
        return Plan(load_benchmark(self.root, {}))

    def graph(self) -> Graph:
        return self.plan().graph

    def to_make(self) -> set[str]:
        """Return the steps of the artefacts that a run would make; the report is made when it is asked for."""
        graph = self.graph()
        current = current_artefacts(graph)
        stale: set[str] = set()
        for node in graph.nodes.values():  # inputs come first
            if node.path not in current or not stale.isdisjoint(node.inputs):
                stale.add(node.path)
        names = {self.name(graph.nodes[path]) for path in stale}
        return names - {"report", "report_section", "explain_gallery"}

    @staticmethod
    def name(node: Node) -> str:
        return f"{node.step} {node.spec.method}" if node.step == "attribute" else node.step

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, in a checkout that is the current directory."""
    root = tmp_path_factory.mktemp("given") / "checkout"
    # The labels that are to be found again are corrupted before the models are trained.
    with one_setting(root, "digits", f"{SETTING}recipe: {{epochs: 1}}\n", FACTORIES, PARAMS) as plan:
        make(root, plan(), "data")
        write_models(root)
        (root / "configs/settings/digits.yaml").write_text(SETTING + FILES)
        make(root, plan(), *STEPS, "overview")
        yield Checkout(root)


@pytest.fixture
def checkout(made, tmp_path, monkeypatch):
    """A copy of the finished run, to be changed."""
    shutil.copytree(made.root, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return Checkout(tmp_path / "copy")


def test_the_leaderboard_has_what_needs_no_retraining_and_names_the_rest(made):
    rows = list(csv.DictReader((made.root / "results/leaderboard.csv").open()))
    valued = {(row["method"], row["metric"]) for row in rows if row["value"]}
    assert {(method, "mislabel_auc") for method in ("graddot", "graddot-3", "tracin", "source")} <= valued
    assert not [row for row in rows if row["value"] and row["metric"] in ("lds", "loo")]
    notes = {(row["method"], row["metric"]): row["note"] for row in rows}
    reason = "needs retrainings, and configs/settings/digits.yaml has trained models (ensemble.files) and no recipe"
    assert notes["graddot", "lds"] == notes["tracin", "loo"] == reason
    assert "replays the training step by step" in notes["magic", "mislabel_auc"]
    assert "no design 'fit'" in notes["datamodels", "mislabel_auc"]
    assert "needs the optimizer adam or adamw" in notes["source-adam", "lds"]
    assert f"- no `lds`, `loo`: {reason}" in (made.root / "results/leaderboard.md").read_text()
    console = Console(record=True, width=200)
    show_status(made.plan(), console)
    assert f"digits: lds  {reason}" in console.export_text()
    assert "are not known" in (made.root / "results/figures/loss-digits.svg").read_text()


def test_scores_are_those_that_python_gives_for_the_same_files(made):
    files = [made.root / "runs" / name for name in ("a.pt", "lightning/last.ckpt", "folder")]
    train_files = [made.root / f"results/digits/data/{part}.safetensors" for part in ("train", "query")]
    rows, queries = ((part["x"], part["y"]) for part in map(load_file, train_files))
    checkpoints = [
        (made.root / "runs/a-10.pt", 0.2, 10),
        (made.root / "runs/a-20.pt", 0.2, 20),
        (files[0], 0.1, 40),
    ]
    known = {"weight_decay": 0.01, "momentum": 0.5}
    for method, given in {
        "graddot-3": {"models": files},
        "tracin": {"checkpoints": checkpoints},
        "source": {"checkpoints": checkpoints},
    }.items():
        stored = load_file(made.root / f"results/digits/scores/{method}.safetensors")["scores"]
        manifest = json.loads(
            (made.root / f"results/digits/scores/{method}.safetensors.manifest.json").read_text()
        )
        params = manifest["details"]["hyper_parameters"]
        model = sys.modules["digits_factories"].Net()
        found = Attributor(method, model, rows, **given, **known, **params).attribute(queries)
        torch.testing.assert_close(found, stored, rtol=1e-6, atol=1e-6 * float(stored.abs().max()))


def test_copies_are_plain_state_dicts_and_their_origin_is_recorded(made):
    ensemble = made.root / "results/digits/ensemble"
    model = sys.modules["digits_factories"].Net()
    final = load_file(ensemble / "member-000/final.safetensors")
    model.load_state_dict(final)
    given = torch.load(made.root / "runs/a.pt", weights_only=True)["model_state_dict"]
    assert all(torch.equal(value, final[name]) for name, value in given.items())
    early = load_file(ensemble / "member-000/step-000010.safetensors")
    assert "norm.running_mean" in early
    assert "scale" not in early  # as in the final model
    training = json.loads((ensemble / "member-000/training.json").read_text())
    assert training["steps"] == [10, 20, 40]
    assert training["learning_rate_sums"] == pytest.approx([2, 4, 6])
    assert training["origin"] == ["runs/a-10.pt", "runs/a-20.pt", "runs/a.pt"]
    lines = "\n".join(provenance_lines(made.graph(), "results/digits/ensemble/shard-001.json"))
    assert "runs/folder/model.safetensors" in lines
    assert not verify(made.root, {path: node.key for path, node in made.graph().nodes.items()}).faults


def test_nothing_is_made_again_without_the_original_files(checkout):
    """As in a clone that pulled the results: they hold copies."""
    shutil.rmtree(checkout.root / "runs")
    assert checkout.to_make() == set()
    checkout.edit("params.yaml", "graddot,", "graddot, gradcos,")
    assert "attribute gradcos" in checkout.to_make()
    checkout.edit("configs/settings/digits.yaml", "lr: 0.1", "lr: 0.3")
    with pytest.raises(
        UserError, match=r"digits\.yaml: ensemble\.files names 'runs/a-10\.pt', which does not exist"
    ):
        checkout.plan()


@pytest.mark.parametrize("written", ["./runs//", "{root}/runs/", "../copy/runs/"])
def test_a_clone_elsewhere_needs_no_original_however_paths_are_written(checkout, written, monkeypatch):
    runs = written.format(root=checkout.root)
    for path in ("runs/a", "runs/lightning", "runs/folder"):
        file = checkout.root / "configs/settings/digits.yaml"
        file.write_text(file.read_text().replace(path, path.replace("runs/", runs)))
    make(checkout.root, checkout.graph().nodes, "adopt_models")
    clone = checkout.root.with_name("clone")
    checkout.root.rename(clone)
    shutil.rmtree(clone / "runs")
    monkeypatch.chdir(clone)
    assert "adopt_models" not in Checkout(clone).to_make()


def test_only_other_bytes_of_a_tensor_file_make_results_new(checkout):
    for file in (checkout.root / "runs").rglob("*"):
        os.utime(file)
    (checkout.root / "runs/folder/trainer_state.json").write_text('{"epoch": 3}')
    assert checkout.to_make() == set()
    state = torch.load(checkout.root / "runs/lightning/last.ckpt", weights_only=True)
    state["state_dict"]["model.head.bias"] += 1
    torch.save(state, checkout.root / "runs/lightning/last.ckpt")
    downstream = checkout.to_make()
    assert {"adopt_models", "check", "featurize", "attribute graddot-3"} <= downstream
    assert downstream.isdisjoint({"data", "attribute random"})


def test_a_file_of_another_model_is_named_with_the_nearest_name(checkout):
    state = torch.load(checkout.root / "runs/a-20.pt", weights_only=True)
    state["hdden.weight"] = state.pop("hidden.weight")
    torch.save(state, checkout.root / "runs/a-20.pt")
    wanted = r"digits\.yaml: ensemble\.files: runs/a-20\.pt: has no 'hidden\.weight' .*nearest name there is 'hdden\.weight'"
    with pytest.raises(UserError, match=wanted):
        make(checkout.root, checkout.graph().nodes, "adopt_models")


def test_nothing_is_computed_before_every_model_is_known_to_fit(made):
    nodes = made.graph().nodes
    shards = {path for path, node in nodes.items() if node.step == "adopt_models"}
    assert len(shards) == 2 and shards <= set(nodes["results/digits/check.json"].inputs)


def test_a_folder_with_a_damaged_index_is_named(checkout):
    (checkout.root / "runs/folder/model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(
        UserError, match=r"names 'runs/folder': .*index\.json: is not an index of safetensors"
    ):
        checkout.plan()


def test_adapters_need_a_base_that_the_factory_loads(checkout):
    folder = checkout.root / "runs/folder"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({"head.weight": state["head.weight"]}, folder / "adapter_model.safetensors")
    with pytest.raises(
        UserError, match=r"runs/folder: has adapters alone, and 'hidden\.weight' of the model is drawn"
    ):
        make(checkout.root, checkout.graph().nodes, "adopt_models")


def test_numbers_that_are_not_finite_are_refused(checkout):
    state = torch.load(checkout.root / "runs/a-20.pt", weights_only=True)
    state["head.bias"][3] = torch.nan
    torch.save(state, checkout.root / "runs/a-20.pt")
    with pytest.raises(UserError, match=r"runs/a-20\.pt: 'head\.bias' has values that are not finite"):
        make(checkout.root, checkout.graph().nodes, "adopt_models")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("runs/folder", "runs/folders", r"ensemble\.files names 'runs/folders', which does not exist"),
        ("*.ckpt", "*.pt", r"ensemble\.files has the pattern 'runs/lightning/\*\.pt', which no file fits"),
        ("runs/folder", "runs", r"the folder has none of adapter_model\.safetensors"),
        ("runs/folder", "./runs/a.pt", r"names 'runs/a\.pt' twice"),
        ("final: runs/a.pt", "final: runs/?.pt", r"has checkpoints for the pattern 'runs/\?\.pt'"),
        ("  files:", "  members: 3\n  files:", r"ensemble\.members follows from ensemble\.files"),
        ("- runs/folder", "- 3", r"ensemble\.files\[2\] must be a path, or a mapping"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(checkout, old, new, said):
    checkout.edit("configs/settings/digits.yaml", old, new)
    with pytest.raises(UserError, match=rf"configs/settings/digits\.yaml: .*{said}") as caught:
        checkout.plan()
    assert "\n" not in str(caught.value)
