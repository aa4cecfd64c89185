"""Tasks and targets in settings: refusals when a run is planned, keys, and a run from data to scores."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from docs.tiny_results import MODULE, STEPS, make_results
from proponent.config.benchmark import load_benchmark
from proponent.config.model_schema import TaskConfig
from proponent.errors import UserError
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan
from proponent.store.tensors import load_tensors
from workflow.this_process import make_artefact

TASKS = '''"""Tasks, targets and weighted data of the settings under test."""

import torch

from formula_factories import blobs
from proponent.settings import Split


class Mine:
    def __init__(self, power: float = 2.0):
        self.power = power

    def loss(self, outputs, y):
        return (1 - outputs.softmax(1).gather(1, y[:, None])[:, 0]) ** self.power

    def target(self, outputs, y):
        return outputs.gather(1, y[:, None])[:, 0]


def largest(outputs, y):
    return outputs.amax(1)


def weighted() -> Split:
    split = blobs()
    x, y = split.train
    return Split(train={"x": x, "y": y, "weight": torch.linspace(0, 2, len(y))}, query=split.query)
'''
SETTING = """\
dataset: {{factory: "{dataset}"}}
model: {{factory: "{module}:net"}}
recipe: {{lr: 0.3, epochs: 4, batch_size: 10}}
ensemble: {{members: 1, checkpoints: 1}}
designs: {{subsets: {{count: 4, seeds: 1}}}}
queries: {{tune: 2, test: 4}}
{more}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("tasks") / "checkout"
    make_results(root, {}, {})
    (root / "own_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


def planned(root: Path, more: str, dataset: str = f"{MODULE}:blobs") -> dict[str, Node]:
    """Return the nodes of a plan of graddot on a setting with some more keys."""
    text = SETTING.format(module=MODULE, dataset=dataset, more=more)
    (root / "configs/settings/lab.yaml").write_text(text)
    (root / "params.yaml").write_text("settings: [lab]\nmethods: [graddot, rps]\nmetrics: []\n")
    with contextlib.chdir(root):
        return Plan(load_benchmark(root, {})).graph.nodes


@pytest.mark.parametrize(
    "more, said",
    [
        ("task: {name: huber, dleta: 1.0}", r"unknown key 'task\.dleta'; did you mean 'delta'"),
        ("task: {name: huber, delta: 0.0}", r"task\.delta must be in \(0, inf\), not 0"),
        ("task: {name: hubr}", "unknown task 'hubr'; did you mean 'huber'"),
        ("task: {delta: 1.0}", "'task' must be a name, or a mapping of 'name'"),
        ("task: {name: classification, class_weights: 3}", r"'task\.class_weights' must be"),
        (
            "task: {name: binary, ignore_index: -1}\nlabel_noise: {fraction: 0.1}",
            "label_noise needs one class per example, and the task is binary with ignore_index",
        ),
        ("task: regression\nlabel_noise: {fraction: 0.1}", "label_noise needs one class per example"),
        ("task: own_tasks:Min", r"has no function 'Min'; did you mean 'Mine'"),
        ("task: {name: 'own_tasks:Mine', pwer: 3.0}", r"unknown key 'task\.pwer'; did you mean 'power'"),
        ("target: {factory: 'own_tasks:larger'}", "has no function 'larger'; did you mean 'largest'"),
        ("target: {factory: 'own_tasks:largest', args: {k: 1}}", r"unknown key 'target\.args\.k'"),
    ],
)
def test_what_is_wrong_is_named_when_a_run_is_planned(checkout: Path, more: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        planned(checkout, more)


def changed(one: dict[str, Node], other: dict[str, Node]) -> set[str]:
    return {one[path].step for path in one if path not in other or one[path].key != other[path].key}


@pytest.mark.slow
def test_keys_follow_a_task_and_a_target(checkout: Path) -> None:
    task = "task: {name: 'own_tasks:Mine', power: 2.0}"
    own = planned(checkout, task)
    target = planned(checkout, f"{task}\ntarget: {{factory: 'own_tasks:largest'}}")
    assert {"retrain", "ground_truth", "featurize", "attribute", "check"} <= changed(own, target)
    assert not {"data", "train"} & changed(own, target)
    assert not [path for path in own if "scores/rps" in path], "it needs classes"
    (checkout / "own_tasks.py").write_text(TASKS.replace("(1 - outputs", "(2 - outputs"))
    assert {"data", "train", "retrain"} <= changed(own, planned(checkout, task))
    (checkout / "own_tasks.py").write_text(TASKS.replace("outputs.amax(1)", "outputs.amin(1)"))
    assert not changed(own, planned(checkout, task))
    (checkout / "own_tasks.py").write_text(TASKS)


@pytest.mark.slow
def test_files_of_a_target_are_part_of_the_keys_that_follow_it(checkout: Path) -> None:
    more = "target: {factory: 'own_tasks:largest', files: [prototypes.txt]}"
    (checkout / "prototypes.txt").write_text("1 2")
    before = planned(checkout, more)
    (checkout / "prototypes.txt").write_text("1 3")
    steps = changed(before, planned(checkout, more))
    assert {"retrain", "ground_truth", "featurize", "attribute", "check"} <= steps
    assert not {"data", "train"} & steps


@pytest.mark.parametrize(
    "task, wanted, found",
    [
        (TaskConfig("classification"), ("classification",), True),
        (TaskConfig("binary"), ("classification",), True),
        (TaskConfig("classification", {"class_weights": [1.0, 2.0]}), ("classification",), True),
        (TaskConfig("classification", {"ignore_index": 9}), ("classification",), False),
        (TaskConfig("own_tasks:Mine"), ("classification",), False),
        (TaskConfig("multi-label"), ("classification", "multi-label"), True),
    ],
)
def test_methods_for_classes_need_one_class_per_example(
    task: TaskConfig, wanted: tuple[str, ...], found: bool
) -> None:
    assert task.is_among(wanted) is found


@pytest.mark.slow
def test_a_run_with_weights_from_data_to_scores(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = "task: {name: 'own_tasks:Mine', power: 2.0}\ntarget: {factory: 'own_tasks:largest'}"
    nodes = planned(checkout, more, "own_tasks:weighted")
    with contextlib.chdir(checkout):
        for node in nodes.values():
            if node.step in STEPS:
                make_artefact(checkout, node)
    assert "setting lab: losses of training examples are multiplied by" in capfd.readouterr().err
    assert "weight" in load_tensors(checkout / "results/lab/data/train.safetensors")
    scores = load_tensors(checkout / "results/lab/scores/graddot.safetensors")["scores"]
    assert not scores[:, 0].any() and scores[:, 1:].any(0).all()  # the first example has weight 0
    assert scores.isfinite().all()
    assert torch.equal(
        load_tensors(checkout / "results/lab/ground_truth/subsets.safetensors")["targets"].isfinite(),
        torch.ones(4, 1, 6, dtype=torch.bool),
    )
