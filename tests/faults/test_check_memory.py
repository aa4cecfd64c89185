"""Methods that need more than ``compute.memory_mib`` are named by the check, and left out, before anything is trained."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from faults import method_memory
from proponent.config.benchmark import load_benchmark
from proponent.config.recipe_schema import LastBatch, RecipeConfig
from proponent.errors import UserError
from proponent.features.member_features import featurize
from proponent.inspection.cost_table import lines_on_memory
from proponent.inspection.status import reasons_to_leave_out
from proponent.plan.current import current_artefacts
from proponent.plan.run_plan import Plan
from proponent.plan.settle import settle
from proponent.self_check.gradient_storage import gradient_storage, projection_notice
from proponent.self_check.method_needs import Trial
from proponent.self_check.problem_sizes import sizes_of
from proponent.self_check.subject import Subject
from proponent.settings.causal_transformer import causal_transformer
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io import planned_memory
from proponent.store.manifest import read_manifest
from proponent.training.designs import member_run
from proponent.training.largest_result import LargestResult
from proponent.training.replay import Replay
from workflow.checkout import REPOSITORY
from workflow.this_process import make_artefact

MODULE = "memory_factories"
FACTORIES = '''"""Blobs, and a network of 91,000 parameters."""

import torch

from proponent.settings import Split


def blobs() -> Split:
    y = torch.arange(36) % 3
    x = torch.randn(36, 2) + torch.stack([y == 1, y == 2], dim=1).float()
    return Split(train=(x[:30], y[:30]), query=(x[30:], y[30:]))


def net() -> torch.nn.Module:
    inner = torch.nn.Linear(2, 300), torch.nn.Tanh(), torch.nn.Linear(300, 300), torch.nn.Tanh()
    return torch.nn.Sequential(*inner, torch.nn.Linear(300, 3))
'''
SETTING = f"""\
dataset: {{factory: "{MODULE}:blobs"}}
model: {{factory: "{MODULE}:net"}}
recipe: {{lr: 0.1, epochs: 2, batch_size: 10}}
ensemble: {{members: 1, checkpoints: 1}}
designs: {{fit: {{count: 6}}}}
queries: {{tune: 2, test: 4}}
"""
METHODS = "[random, graddot, if-cg, source, magic]"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a plan of which the check is made first, and then a model, features and scores."""
    root = tmp_path_factory.mktemp("memory") / "checkout"
    root.mkdir()
    for name in ("src", "workflow", "Snakefile"):
        (root / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    (root / f"{MODULE}.py").write_text(FACTORIES)
    (root / "configs/settings/lab.yaml").write_text(SETTING)
    (root / "params.yaml").write_text(
        f"settings: [lab]\nmethods: {METHODS}\nmetrics: []\ncompute: {{memory_mib: 8, lockstep: 1}}\n"
    )
    sys.path.insert(0, str(root))
    try:
        with contextlib.chdir(root):
            plan = Plan(load_benchmark(root, {}))
            settle(plan.graph)  # writes the key files
            for node in plan.graph.nodes.values():
                if node.step in ("data", "check"):
                    make_artefact(root, node)
            before = reasons_to_leave_out(plan)
            for node in plan.graph.nodes.values():
                if node.step in ("train", "featurize", "attribute") and "outputs" not in node.path:
                    make_artefact(root, node)
    finally:
        sys.path.remove(str(root))
    return plan, before


def scores(method):
    return f"results/lab/scores/{method}.safetensors"


def test_the_check_names_what_will_be_left_out_and_jobs_leave_it_out(made):
    plan, before = made
    assert set(before) == {"lab/if-cg", "lab/source", "lab/magic"}
    for method in ("if-cg", "source", "magic"):
        reason = read_manifest(plan.benchmark.root / scores(method)).details["left_out"]
        assert reason == before[f"lab/{method}"]
        assert reason.startswith("needs ")
        assert "MiB of memory and compute.memory_mib is 8: raise it to" in reason
    for method in ("random", "graddot"):
        assert "left_out" not in read_manifest(plan.benchmark.root / scores(method)).details


def test_marks_for_memory_are_current_under_their_key(made):
    plan, _ = made
    assert {scores(method) for method in ("if-cg", "source", "magic")} <= current_artefacts(plan.graph)


def test_the_plan_names_blocks_and_what_is_left_out(made):
    plan, _ = made
    root = plan.benchmark.root
    nodes = [plan.graph.nodes[scores(method)] for method in ("graddot", "if-cg")]
    (line,) = lines_on_memory(nodes, lambda spec: planned_memory.planned_memory(root, spec))
    assert line.startswith("left out: lab/if-cg needs ")
    spec = nodes[1].spec
    least = planned_memory.planned_memory(root, spec).least_mib
    roomy = [SimpleNamespace(spec=replace(spec, memory_mib=round(least) + 1))]
    (line,) = lines_on_memory(roomy, lambda spec: planned_memory.planned_memory(root, spec))
    assert line.startswith("in blocks of queries: lab/if-cg takes ")


REPLAYED = ("unrolling.magic", "unrolling.dvemb", "gradient_similarity.less")


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        *(
            "influence.if_cg",
            "influence.if_exact",
            "influence.if_lissa",
            "influence.if_arnoldi",
            "influence.ekfac",
        ),
        *("unrolling.source", *REPLAYED),
        *("projected_influence.logra", "projected_influence.trackstar", "projected_influence.grass"),
    ],
)
def test_the_planned_memory_is_what_the_method_itself_asks_for(method, tmp_path):
    """What is planned as enough suffices for the engine and the method, and 2 MiB less do not."""
    problem = method_memory.Problem(150, 40, 6)
    recipe = method_memory.SGD
    setting = Subject("lab", problem.build, problem.data, method_memory.TASK, recipe)
    folder = tmp_path / "results/lab/data"
    folder.mkdir(parents=True)
    for side, y in (("train", problem.data.y_train), ("query", problem.data.y_query)):
        save_file({"y": y}, folder / f"{side}.safetensors")
    folder.with_name("check.json").write_text(json.dumps({"sizes": asdict(sizes_of(setting))}))
    spec = Spec(
        candidates=(method_memory.PARAMS.get(method, {}),),
        module=f"proponent.methods.{method}",
        network=None if method in REPLAYED else SimpleNamespace(),
        replay=SimpleNamespace(recipe=recipe, seed=0) if method in REPLAYED else None,
        memory_mib=1,
    )
    enough = planned_memory.enough_mib(tmp_path, spec)
    assert problem.scores(method, enough).isfinite().all()
    with pytest.raises(UserError, match=r"MiB of memory and compute\.memory_mib is"):
        problem.scores(method, enough - 2)


@dataclass(frozen=True)
class Spec:
    """What the plan reads of a method's specification."""

    candidates: tuple[dict[str, object], ...]
    module: str = "proponent.methods.trak.trak"
    network: object = None
    replay: object = None
    memory_mib: int = 10_000
    setting: str = "lab"
    needs: tuple[str, ...] = ("gradients",)
    function: str = "attribute"


def subject(n: int = 40) -> Subject:
    torch.manual_seed(0)
    y = torch.arange(n) % 3
    data = Arrays(torch.randn(n, 200), y, torch.randn(4, 200), y[:4])

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(200, 700), nn.Tanh(), nn.Linear(700, 3))

    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=10)
    return Subject("lab", build, data, get_task("classification"), recipe)


def test_the_check_counts_the_largest_batch_that_a_replay_has():
    recipe = RecipeConfig(lr=0.1, epochs=2, batch_size=10, last_batch=LastBatch.merge)
    setting = replace(subject(19), recipe=recipe)
    replay = Replay(setting.build, setting.task, recipe, member_run(0, 0), setting.data)
    assert sizes_of(setting).replay_mib == replay.pass_mib


@pytest.mark.parametrize("memory_mib", [1, 2, 8])
def test_the_check_knows_how_gradients_will_be_stored(memory_mib):
    setting = subject(200)
    sizes = sizes_of(setting)
    options = {"members": 1, "checkpoints": 2, "memory_mib": memory_mib}
    module, data, states = setting.build(0), setting.data, [setting.build(0).state_dict()] * 3
    try:
        expected = gradient_storage(setting, sizes, **options)
    except UserError as error:
        with pytest.raises(UserError) as other:
            featurize("gradients", module, states.__getitem__, 3, setting.task, data, memory_mib=memory_mib)
        assert str(other.value) == str(error)
        return
    _, found = featurize(
        "gradients", module, states.__getitem__, 3, setting.task, data, memory_mib=memory_mib
    )
    assert asdict(expected) == {name: found[name] for name in asdict(expected)}
    notice = projection_notice(expected, 1)
    assert (notice is None) == (found["choice"] == "factored")
    if notice:
        enough = int(notice.split("memory_mib to ")[1].split()[0].replace(",", ""))
        assert gradient_storage(setting, sizes, **{**options, "memory_mib": enough}).choice == "factored"


def test_more_dimensions_than_will_be_stored_are_refused_before_training(tmp_path):
    spec = Spec(({"projection_dim": 512}, {"projection_dim": 4096}))
    folder = tmp_path / "results/lab/data"
    folder.mkdir(parents=True)
    for side in ("train", "query"):
        save_file({"x": torch.zeros(9, 6), "y": torch.zeros(9)}, folder / f"{side}.safetensors")
    check = folder.with_name("check.json")
    check.write_text(json.dumps({"gradients": {"dim": 2048}}))
    reason = planned_memory.refusal(tmp_path, spec)
    assert reason.startswith("asks for a projection to 4096 dimensions, and gradients are stored in 2048")
    assert planned_memory.refusal(tmp_path, Spec(({"projection_dim": 2048},))) is None


@pytest.mark.parametrize(
    "change", [{"last": None}, {"of_tomorrow": 3}], ids=["without a size", "with one more"]
)
def test_sizes_of_another_version_are_not_known(change, tmp_path):
    """`proponent plan` reads the check before it is made again."""
    folder = tmp_path / "results/lab/data"
    folder.mkdir(parents=True)
    for side in ("train", "query"):
        save_file({"x": torch.zeros(9, 6), "y": torch.zeros(9)}, folder / f"{side}.safetensors")
    sizes = {
        name: value for name, value in {**asdict(sizes_of(subject())), **change}.items() if value is not None
    }
    folder.with_name("check.json").write_text(json.dumps({"sizes": sizes}))
    spec = Spec(({},), module="proponent.methods.influence.if_cg", network=SimpleNamespace())
    assert planned_memory.planned_memory(tmp_path, spec) is None
    assert planned_memory.job_mib(tmp_path, spec) == planned_memory.LIBRARIES_MIB + spec.memory_mib


def test_the_trial_of_a_model_with_many_outputs_is_small():
    """A language model with 24 positions and 500 tokens has 12,000 outputs; a root of the GGN has a row for each of them."""
    torch.manual_seed(0)
    y = torch.randint(0, 500, (8, 24))
    data = Arrays(x_train=y, y_train=y, x_query=y[:3], y_query=y[:3])
    model = partial(causal_transformer, vocabulary=500, length=24, width=16, heads=2, layers=1)
    subject = Subject(
        "lab", lambda seed: model(), data, get_task("language-model"), RecipeConfig(lr=0.1, epochs=1)
    )
    trial = Trial(subject)
    with LargestResult() as largest:
        assert trial.reason("network.ggn_root") is None
    assert largest.bytes < 200 * 2**20
