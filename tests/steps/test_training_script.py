"""Settings whose models are trained by a command: its output, its failures, its keys, and agreement with a recipe."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from proponent.config.benchmark import load_benchmark
from proponent.errors import UserError
from proponent.metrics import lds
from proponent.plan.artefact_paths import key_path
from proponent.plan.run_plan import Plan
from proponent.steps.io.script_output import read_checkpoint, read_record
from proponent.store.files import write_json
from steps.planned_jobs import make, one_setting

FACTORIES = """\
import torch

from proponent.settings import Split


def blobs():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(52) % 3
    x = torch.randn(52, 4, generator=generator) + torch.nn.functional.one_hot(y, 4)
    return Split(train=(x[:40], y[:40]), query=(x[40:], y[40:]))


def model():
    net = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    return net
"""
SCRIPT = '''\
"""Softmax regression by gradient descent, in NumPy."""
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

seed, keep, data, out = sys.argv[1:5]
train = load_file(f"{data}/train.safetensors")
rows = np.loadtxt(keep, dtype=int)
x, y = train["x"][rows].astype(float), np.eye(3)[train["y"][rows]]
weight, bias = np.zeros((3, 4)), np.zeros(3)
for step in range(30):
    p = np.exp(x @ weight.T + bias)
    error = p / p.sum(1, keepdims=True) - y
    weight -= 0.5 * (error.T @ x / len(x) + 0.01 * weight)
    bias -= 0.5 * (error.mean(0) + 0.01 * bias)
weights = {"weight": weight.astype("float32"), "bias": bias.astype("float32")}
save_file(weights, f"{out}/final.safetensors")
'''
BATCHES = SCRIPT.replace(
    """for step in range(30):
    p = np""",
    """generator, all_x, all_y = np.random.default_rng(int(seed)), x, y
for step in range(60):
    chosen = generator.choice(len(rows), len(rows) // 2, replace=False)
    x, y = all_x[chosen], all_y[chosen]
    p = np""",
)
BY_RECIPE = "recipe: {lr: 0.5, weight_decay: 0.01, epochs: 30, batch_size: 40}"
REST = """\
ensemble: {members: 2, checkpoints: 0}
designs: {subsets: {count: 10, seeds: 1}, loo: {count: 3, seeds: 1}, tune: {count: 4, seeds: 1}}
queries: {tune: 4, test: 8}
"""
PYTHON = shlex.quote(sys.executable)
ARGUMENTS = "{seed} {indices} {data} {out}"


def by_command(
    command=f"{PYTHON} fit.py {ARGUMENTS}", more="", model='model: {factory: "own_factories:model"}'
):
    """Return a setting whose models are trained by a command."""
    head = f'dataset: {{factory: "own_factories:blobs"}}\n{model}\n'
    return f"{head}training: {{command: {json.dumps(command)}{more}}}\n{REST}"


@contextlib.contextmanager
def checkout(root: Path, setting: str, script: str = SCRIPT, methods: str = "methods: [graddot, random]\n"):
    """Lay out a checkout with a script, and yield a function that returns its plan."""
    with one_setting(root, "own", setting, FACTORIES, methods) as plan:
        (root / "fit.py").write_text(script)
        yield plan


def refused(root: Path, plan, *steps: str) -> str:
    """Return the one line with which a step refuses."""
    with pytest.raises(UserError) as caught:
        make(root, plan(), *steps)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of one problem: of a recipe, of a script that does the same steps, and of one with other batches."""
    steps = (
        "data",
        "check",
        "train",
        "train_script",
        "retrain",
        "retrain_script",
        "ground_truth",
        "featurize",
        "attribute",
    )
    recipe = f'dataset: {{factory: "own_factories:blobs"}}\nmodel: {{factory: "own_factories:model"}}\n{BY_RECIPE}\n{REST}'
    found = {}
    for name, (setting, script) in {
        "script": (by_command(), SCRIPT),
        "recipe": (recipe, SCRIPT),
        "batches": (by_command(), BATCHES),
    }.items():
        root = tmp_path_factory.mktemp(name)
        with checkout(root, setting, script) as plan:
            make(root, plan(), *steps)
        found[name] = root / "results/own"
    return found


@pytest.mark.slow
def test_a_script_that_does_the_same_steps_trains_the_same_models(trained):
    file = "ensemble/member-001/final.safetensors"
    one, other = (load_file(trained[name] / file) for name in ("script", "recipe"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_its_retrainings_have_the_same_masks_and_targets(trained):
    file = "ground_truth/subsets.safetensors"
    one, other = (load_file(trained[name] / file) for name in ("script", "recipe"))
    assert torch.equal(one["masks"], other["masks"]) and one["masks"].sum(1).unique().tolist() == [20]
    assert one["targets"].std(0).min() > 0.01
    torch.testing.assert_close(one["targets"], other["targets"], atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_methods_have_the_same_values_with_models_of_a_script(trained):
    found = {}
    for name, results in trained.items():
        scores = load_file(results / "scores/graddot.safetensors")["scores"].numpy()
        truth = load_file(results / "ground_truth/subsets.safetensors")
        found[name] = lds(scores, truth["masks"].numpy(), truth["targets"].numpy())
    assert found["script"].value == pytest.approx(found["recipe"].value, abs=1e-3)
    for one, other in (("batches", "recipe"), ("recipe", "batches")):
        assert found[one].ci_low < found[other].value < found[one].ci_high


@pytest.mark.slow
def test_nothing_but_results_is_left_and_the_cost_is_that_of_the_script(trained):
    results = trained["script"]
    assert not list(results.rglob(".*.work")) and not list(results.rglob(".*.partial"))
    manifest = json.loads((results / "ensemble/shard-000.json.manifest.json").read_text())
    assert manifest["seconds"] > 0.1 and manifest["details"]["command"][1] == "fit.py"
    assert "fit.py" in manifest["files"]
    training = json.loads((results / "ensemble/member-001/training.json").read_text())
    assert 0 <= training["seed"] < 2**31 and training["steps"] == [1]


def refusal_of(root: Path, setting: str, step: str) -> Iterator[Callable[[str], str]]:
    """Yield a function that tries a script on data that are made once, and returns the line of its refusal."""
    with checkout(root, setting) as plan:
        make(root, plan(), "data")

        def tried(script: str) -> str:
            (root / "fit.py").write_text(script)
            return refused(root, plan, step)

        yield tried


@pytest.fixture(scope="module")
def weights_refused(tmp_path_factory):
    yield from refusal_of(tmp_path_factory.mktemp("weights"), by_command(), "train_script")


WRITE = "import sys, numpy as np\nfrom safetensors.numpy import save_file\nout = sys.argv[4]\n"
SAVE = "save_file({{'{0}': np.full({1}), 'bias': np.ones(3)}}, f'{{out}}/final.safetensors')"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('reading'); sys.exit('no disk')", "ended with exit code 1 for member 0 (seed "),
        ("print('reading'); sys.exit('no disk')", "40 examples): no disk"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("pass", "wrote no final.safetensors or final.pt into the folder {out}, but nothing"),
        ("open(f'{out}/model.bin', 'w')", "but model.bin"),
        (SAVE.format("weigth", "(3, 4), 1.0"), "the nearest name there is 'weigth'"),
        (SAVE.format("weight", "(4, 3), 1.0"), "'weight' has shape (4, 3), but (3, 4) in the model"),
        (SAVE.format("weight", "(3, 4), np.nan"), "the final model has weights that are not finite"),
        ("open(f'{out}/final.pt', 'w').write('x')", "cannot be read as tensors"),
    ],
)  # fmt: skip
def test_a_script_that_fails_is_reported_in_one_line(weights_refused, body, said):
    text = weights_refused(f"{WRITE}{body}\n")
    assert text.startswith("configs/settings/own.yaml: training.command ") and said in text
    assert not Path("results/own/ensemble/shard-000.json").exists()


@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        (f"python fitt.py {ARGUMENTS}", "", "names 'fitt.py', which does not exist"),
        (f"python fit.py results/own/data {ARGUMENTS}", "", r"write \{data\} for the folder of the data"),
        (f"python fit.py /etc/hostname {ARGUMENTS}", "", "outside the checkout; list it in training.sources"),
        (f"python fit.py {ARGUMENTS}", ", sources: [.]", "names '.', which contains results/"),
        (f"python -m lab {ARGUMENTS}", "", "names no file of the checkout"),
    ],
)
def test_files_of_a_command_must_be_there_and_in_its_key(tmp_path, command, more, said):
    with (
        checkout(tmp_path, by_command(command, more)) as plan,
        pytest.raises(UserError, match=rf"configs/settings/own\.yaml: training\.(command|sources) .*{said}"),
    ):
        plan()


@pytest.mark.slow
def test_a_script_that_is_edited_while_it_trains_is_noticed(tmp_path):
    editing = SCRIPT + "if __file__: open(__file__, 'a').write('x = 3\\n')\n"
    with checkout(tmp_path, by_command(), editing) as plan:
        make(tmp_path, plan(), "data")
        assert "fit.py changed since this run was planned" in refused(tmp_path, plan, "train_script")
        assert not (tmp_path / "results/own/ensemble/shard-000.json").exists()


@pytest.mark.slow
def test_a_program_that_is_not_there_is_found_by_the_check(tmp_path):
    with checkout(tmp_path, by_command(f"pyhton9 fit.py {ARGUMENTS}")) as plan:
        make(tmp_path, plan(), "data")
        assert "there is no program 'pyhton9' on this machine" in refused(tmp_path, plan, "check")


@pytest.mark.slow
def test_a_retraining_that_is_not_finite_keeps_its_place(tmp_path):
    script = SCRIPT.replace("weights = {", "if 0 not in rows: weight *= np.nan\nweights = {")
    with checkout(tmp_path, by_command(), script) as plan:
        make(tmp_path, plan(), "data", "check", "retrain_script", "ground_truth")
        truth = load_file(tmp_path / "results/own/ground_truth/subsets.safetensors")
    assert torch.equal(truth["targets"].isnan().any(2)[:, 0], ~truth["masks"][:, 0])


COUNTED = "open('calls.txt', 'a').write(sys.argv[1] + '\\n')\n"


@pytest.mark.slow
def test_models_that_are_whole_are_kept_when_a_later_one_fails(tmp_path):
    flag = "import os\nif os.path.exists('stop') and len(open('calls.txt').readlines()) > 1: sys.exit(7)\n"
    script = SCRIPT.replace("seed, keep", f"{COUNTED}{flag}seed, keep")
    with checkout(tmp_path, by_command(), script) as plan:
        make(tmp_path, plan(), "data", "check")
        few = {path: node for path, node in plan().items() if "/ensemble/" in path or "loo-" in path}
        for step, models in (("train_script", 2), ("retrain_script", 4)):
            (tmp_path / "calls.txt").unlink(missing_ok=True)
            (tmp_path / "stop").touch()
            assert "exit code 7" in refused(tmp_path, lambda: few, step)
            (tmp_path / "stop").unlink()
            make(tmp_path, few, step)
            assert (
                len((tmp_path / "calls.txt").read_text().split()) == models + 1
            )  # the second one was tried twice


def changed(before, after):
    """Return the steps whose keys differ."""
    return {node.step for path, node in before.items() if node.key != after[path].key}


@pytest.mark.slow
def test_a_change_of_the_script_trains_again_and_a_comment_does_not(tmp_path):
    command = f"{PYTHON} fit.py {ARGUMENTS}"
    with checkout(tmp_path, by_command(command, ", sources: [rates.txt]")) as plan:
        (tmp_path / "configs/settings/own.yaml").write_text(by_command(command, ", sources: [rates.txt]"))
        (tmp_path / "rates.txt").write_text("0.5\n")
        before = plan()
        (tmp_path / "fit.py").write_text(f"# faster\n{SCRIPT}")
        (tmp_path / "configs/settings/own.yaml").write_text(
            by_command(command.replace(" ", "  "), ",  sources: [rates.txt]")
        )
        assert changed(before, plan()) == set()
        (tmp_path / "fit.py").write_text(SCRIPT.replace("0.01", "0.02"))
        edited = changed(before, plan())
        assert {"train_script", "retrain_script", "ground_truth", "featurize"} <= edited
        assert not edited & {"data", "check"}
        (tmp_path / "fit.py").write_text(SCRIPT)
        (tmp_path / "rates.txt").write_text("0.4\n")
        assert changed(before, plan()) == edited


NEIGHBOURS = """\
import sys

import numpy as np
from safetensors.numpy import load_file

seed, keep, data, out = sys.argv[1:5]
train, query = load_file(f"{data}/train.safetensors"), load_file(f"{data}/query.safetensors")
rows = np.loadtxt(keep, dtype=int)
distance = ((query["x"][:, None] - train["x"][None, rows]) ** 2).sum(2)
agree = query["y"][:, None] == train["y"][None, rows]
vote = np.exp(-distance)
np.savetxt(f"{out}/targets.txt", np.log((vote * agree).sum(1)) - np.log((vote * ~agree).sum(1)))
"""


def without_model(command=f"{PYTHON} fit.py {ARGUMENTS}"):
    return by_command(command, ", targets: script", model="").replace(
        "loo: {count: 3, seeds: 1}", "fit: {count: 12, seeds: 1}"
    )


@pytest.mark.slow
def test_a_model_that_torch_cannot_load_is_attributed_from_its_targets(tmp_path):
    methods = "methods: [random, same-label, datamodels-ridge, graddot, ekfac, knn-shapley]\n"
    with checkout(tmp_path, without_model(), NEIGHBOURS, methods) as plan:
        found = Plan(load_benchmark(tmp_path, {}))
        assert found.scores["own"] == ["random", "same-label", "datamodels-ridge"]
        file = "configs/settings/own.yaml"
        assert found.reasons["own"]["graddot"] == f"uses the model, and {file} has none"
        assert not [path for path in plan() if "/ensemble/" in path or "/features/" in path]
        make(tmp_path, plan(), "data", "check", "retrain_script", "ground_truth", "attribute")
        make(tmp_path, plan(), "evaluate", "summary", "figures", "collect", "overview")
        truth = load_file(tmp_path / "results/own/ground_truth/subsets.safetensors")
        scores = load_file(tmp_path / "results/own/scores/datamodels-ridge.safetensors")["scores"]
        board = (tmp_path / "results/leaderboard.csv").read_text()
    data = load_file(tmp_path / "results/own/data/train.safetensors")
    query = load_file(tmp_path / "results/own/data/query.safetensors")
    kept = truth["masks"][3]
    vote = torch.exp(-(torch.cdist(query["x"], data["x"][kept]) ** 2))
    agree = query["y"][:, None] == data["y"][kept]
    margin = (vote * agree).sum(1).log() - (vote * ~agree).sum(1).log()
    torch.testing.assert_close(truth["targets"][3, 0], margin, atol=1e-4, rtol=1e-4)
    assert scores.shape == (12, 40) and "own,datamodels-ridge" in board


@pytest.fixture(scope="module")
def targets_refused(tmp_path_factory):
    yield from refusal_of(tmp_path_factory.mktemp("targets"), without_model(), "retrain_script")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "wrote no targets.txt"),
        ("open(f'{out}/targets.txt', 'w').write('1\\n2\\n')", "has 2 lines, and there are 12 queries"),
        ("open(f'{out}/targets.txt', 'w').write('1\\n0,5\\n' * 6)", "line 2 is '0,5'"),
    ],
)
def test_wrong_targets_are_refused_by_their_line(targets_refused, line, said):
    assert said in targets_refused(f"import sys\nout = sys.argv[4]\n{line}\n")


SAVING = SCRIPT.replace(
    "for step in range(30):\n",
    """for step in range(30):
    if step in (5, 15):
        save_file({"weight": weight.astype("float32"), "bias": bias.astype("float32")}, f"{out}/step-{step:06d}.safetensors")
""",
) + ("import json\nrecord = {'steps': [5, 15, 30], 'learning_rates': [0.5, 0.5, 0.5]}\n"
     "json.dump(record, open(f'{out}/training.json', 'w'))\n")  # fmt: skip


def test_checkpoints_and_their_learning_rates_are_taken_over(tmp_path):
    setting = by_command().replace("{members: 2, checkpoints: 0}", "{members: 1, checkpoints: 2}")
    setting = re.sub("designs: .*", "designs: {}", setting)
    with checkout(tmp_path, setting, SAVING, "methods: [tracin]\n") as plan:
        make(tmp_path, plan(), "data", "check", "train_script", "featurize", "attribute")
    folder = tmp_path / "results/own/ensemble/member-000"
    training = json.loads((folder / "training.json").read_text())
    assert training["steps"] == [5, 15, 30] and training["learning_rate_sums"] == [2.5, 7.5, 15.0]
    early, final = (load_file(folder / f"{name}.safetensors")["weight"] for name in ("step-000005", "final"))
    assert 0 < early.abs().sum() < final.abs().sum()
    assert load_file(tmp_path / "results/own/scores/tracin.safetensors")["scores"].isfinite().all()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"steps": [5, 30], "learning_rates": [1, 1]}, "has 2 steps, and ensemble.checkpoints is 2; write 3"),
        ({"steps": [5, 5, 30], "learning_rates": [1, 1, 1]}, "steps must be whole numbers that grow"),
        ({"steps": [5, 15, 30], "learning_rates": [1, 1]}, "learning_rates must hold 3 numbers"),
        ({"steps": [5, 15, 30], "lr": [1, 1, 1]}, "must hold the lists 'steps' and 'learning_rates'"),
        ({"steps": [5, 15, 30], "learning_rates": [1, 1, "x"]}, "must be a list of finite numbers"),
        (None, "wrote no training.json, and ensemble.checkpoints is 2"),
    ],
)
def test_a_wrong_record_of_checkpoints_is_refused(tmp_path, record, said):
    if record is not None:
        (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        read_record(tmp_path, 2)
    assert said in str(caught.value)


def test_a_checkpoint_that_the_record_names_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"wrote no step-000020.safetensors or step-000020.pt"):
        read_checkpoint(tmp_path, 20, torch.nn.Linear(4, 3))


@pytest.mark.slow
def test_a_killed_job_takes_its_script_along_and_continues(tmp_path):
    slow = "import os, time\nif os.path.exists('sleep'):\n    open('pid', 'w').write(str(os.getpid())); time.sleep(60)\n"
    with checkout(tmp_path, by_command(), SCRIPT.replace("seed, keep", f"{COUNTED}{slow}seed, keep")) as plan:
        nodes = plan()
        make(tmp_path, nodes, "data", "check")
        node = next(node for path, node in nodes.items() if node.step == "retrain_script" and "loo" in path)
        write_json(tmp_path / key_path(node.path), node.key_content())
        command = [
            sys.executable,
            "-c",
            "from proponent.cli import main; main()",
            "retrain-script",
            key_path(node.path),
        ]
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
        (tmp_path / "sleep").touch()
        job = subprocess.Popen(command, cwd=tmp_path, env=environment)
        pid = tmp_path / "pid"
        while not (pid.exists() and pid.read_text()):
            assert job.poll() is None
            time.sleep(0.05)
        job.send_signal(signal.SIGKILL)
        job.wait()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid.read_text()}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{pid.read_text()}").exists()
        (tmp_path / "sleep").unlink()
        make(tmp_path, {node.path: node}, "retrain_script")
        assert load_file(tmp_path / node.path)["targets"].isfinite().all()
        assert not list((tmp_path / "results").rglob(".*.work"))
