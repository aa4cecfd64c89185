"""Bad input is one clear line and a non-zero exit, and nothing is half-written."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy
import pytest
import torch

from proponent.cli import main
from proponent.errors import UserError
from workflow.this_process import refusal

pytestmark = pytest.mark.slow


def complaints(checkout, *arguments: str) -> set[str]:
    """Run snakemake, expect it to fail, and return its lines that begin with `error:`."""
    done = checkout.snakemake(*arguments, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    temporary = list((checkout.root / "results").rglob("*.tmp"))
    assert temporary == []
    return {line.strip() for line in done.stdout.splitlines() if line.strip().startswith("error:")}


def complaint(checkout, *arguments: str) -> str:
    """Run snakemake, expect it to fail, and return its one line that begins with `error:`."""
    lines = complaints(checkout, *arguments)
    assert len(lines) == 1, lines
    return lines.pop()


def one_line(printed: str) -> str:
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    return line


def refused(checkout, path: str) -> str:
    """Make an artefact, whose step must refuse in one line, and return the line; `complaint` without Snakemake."""
    with pytest.raises(UserError) as caught:
        checkout.make(path)
    assert len(str(caught.value).splitlines()) == 1
    assert list((checkout.root / "results").rglob("*.tmp")) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "params.yaml",
            "methods:",
            "metods:",
            "error: params.yaml: unknown key 'metods'; did you mean 'methods'?",
        ),
        ("params.yaml", "trak]", "track]", "no method 'track' in configs/methods/; did you mean 'trak'?"),
        ("params.yaml", "[toy]", "[toys]", "no setting 'toys' in configs/settings/; did you mean 'toy'?"),
        (
            "configs/settings/toy.yaml",
            "momentum: 0.0",
            "momentun: 0.0",
            "configs/settings/toy.yaml: unknown key 'recipe.momentun'; did you mean 'momentum'?",
        ),
        (
            "configs/settings/toy.yaml",
            "epochs: 10",
            "epochs: ten",
            "configs/settings/toy.yaml: recipe.epochs",
        ),
        (
            "configs/settings/toy.yaml",
            "args: {n: 60}",
            "args: {m: 60}",
            "configs/settings/toy.yaml: unknown key 'dataset.args.m'",
        ),
        (
            "configs/settings/toy.yaml",
            "factories:blobs",
            "factories:blob",
            "has no function 'blob'; did you mean 'blobs'?",
        ),
        ("configs/settings/toy.yaml", "toy.factories:net", "toy.factory:net", "no module 'toy.factory'"),
        (
            "configs/settings/toy.yaml",
            "task: classification",
            "task: clasification",
            "unknown task 'clasification'; did you mean 'classification'?",
        ),
        ("configs/methods/trak.yaml", "damping:", "dampng:", "configs/methods/trak.yaml: unknown key"),
        (
            "configs/metrics/lds.yaml",
            "metric: lds",
            "metric: lds\nparams: {resample: 10}",
            "configs/metrics/lds.yaml: unknown key 'params.resample'; did you mean 'resamples'?",
        ),
    ],
    ids=lambda value: value.replace("/", "-")[:40],
)
def test_mistakes_in_configuration_fail_at_once(fresh, file, old, new, said):
    """What the Snakefile calls refuses with this line; the next test shows that Snakemake prints the line and ends."""
    fresh.edit(file, old, new)
    assert said in one_line(refusal(fresh.root))


def test_snakemake_ends_at_a_mistake(fresh):
    fresh.edit("params.yaml", "methods:", "metods:")
    assert complaint(fresh) == "error: params.yaml: unknown key 'metods'; did you mean 'methods'?"


def test_a_mistake_on_the_command_line_is_named(fresh):
    assert "error: --config: unknown key 'setings'; did you mean 'settings'?" in complaint(
        fresh, "--config", "setings=[toy]"
    )
    assert "no method 'graddott'" in one_line(refusal(fresh.root, "methods=[graddott]"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("x[3] = float('nan')", "NaN"),
        ("y[3] = -1", "label"),
        ("x = x[:-1]", "give both one row per example"),
        ("y = y.float() + 0.5", "label"),
    ],
    ids=["NaN in the data", "negative label", "shapes that disagree", "labels that are no classes"],
)
def test_malformed_data_is_named_and_leaves_nothing(fresh, edit, said):
    fresh.edit("toy/factories.py", "    return Split", f"    {edit}\n    return Split")
    line = refused(fresh, "results/toy/data/train.safetensors")
    assert said in line
    assert "toy" in line
    assert fresh.bytes_of("toy/data/*") == {}


def test_stages_that_do_not_add_up_to_the_training_set_are_refused_where_its_size_is_known(fresh):
    fresh.edit(
        "configs/settings/toy.yaml",
        "epochs: 10",
        "stages: [{examples: 30, epochs: 2}, {examples: 20, epochs: 2}]",
    )
    said = "recipe.stages have 30 + 20 = 50 examples, but the training set has 60"
    assert f"configs/settings/toy.yaml: {said}" in refused(fresh, "results/toy/data/train.safetensors")
    assert fresh.bytes_of("toy/data/*") == {}


def test_a_label_that_the_model_has_no_output_for_is_named(fresh):
    fresh.edit("toy/factories.py", "    return Split", "    y[3] = 7\n    return Split")
    line = complaint(fresh, "results/toy/ensemble/shard-000.json")
    assert "toy" in line
    assert "7" in line


def test_a_model_that_does_not_fit_the_data_is_named(fresh):
    fresh.edit("toy/factories.py", "torch.nn.Linear(2, width)", "torch.nn.Linear(3, width)")
    line = refused(fresh, "results/toy/check.json")
    assert "toy" in line
    assert "model" in line


def test_a_factory_that_does_not_return_what_it_should_is_named(fresh):
    fresh.edit(
        "toy/factories.py", "    return Split(train=(x[:n], y[:n]), query=(x[n:], y[n:]))", "    return None"
    )
    assert "Split" in complaint(fresh, "results/toy/data/train.safetensors")
    assert fresh.bytes_of("toy/data/*") == {}


def test_diverging_retrainings_are_recorded_by_seed_and_mask(checkout):
    """Each is named in the manifest by row, repeat and seeds; here all diverge, so there is nothing to evaluate."""
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 1e30")
    checkout.make("results/toy/ground_truth/subsets.safetensors", "results/toy/ground_truth/loo.safetensors")
    line = complaint(checkout, "results/toy/metrics/random.json")
    assert "0 of 20 retrained subsets are usable" in line
    assert "40 of 40 retrainings diverged" in line
    manifest = json.loads(
        (checkout.root / "results/toy/ground_truth/subsets.safetensors.manifest.json").read_text()
    )
    diverged = manifest["details"]["diverged"]
    assert [(run["row"], run["repeat"]) for run in diverged] == [
        (row, repeat) for row in range(20) for repeat in range(2)
    ]
    assert len({run["init_seed"] for run in diverged}) == 40
    assert "training of member 0, 1 diverged" in refused(checkout, "results/toy/ensemble/shard-000.json")


def test_scores_of_somebodys_rules_are_checked(checkout):
    """Three methods by rules of a user, in one run; each is refused in one line, and the other methods get their metrics."""
    said = {"holes": "NaN", "narrow": "(9, 60)", "counts": "float"}
    (checkout.root / "theirs.py").write_text(
        "import sys, torch\nfrom safetensors.torch import save_file\nscores = torch.zeros(9, 60)\n"
        "if 'holes' in sys.argv[1]:\n    scores[1, 2] = float('nan')\n"
        "if 'narrow' in sys.argv[1]:\n    scores = scores[:, :-1]\n"
        "if 'counts' in sys.argv[1]:\n    scores = scores.long()\n"
        "save_file({'scores': scores.contiguous()}, sys.argv[1])\n"
    )
    for method in said:
        (checkout.root / f"configs/methods/{method}.yaml").write_text(
            "family: external\nsources: [theirs.py]\n"
        )
        (checkout.root / f"workflow/rules/methods/{method}.smk").write_text(
            f'rule {method}:\n    input:\n        train="results/{{setting}}/data/train.safetensors",\n    output:\n'
            f'        "results/{{setting}}/scores/{method}.safetensors",\n    log:\n'
            f'        "logs/{{setting}}/{method}.log",\n    shell:\n        "python theirs.py {{output}} > {{log}} 2>&1"\n'
        )
    lines = complaints(checkout, "--config", f"methods=[random,{','.join(said)}]")
    for method, reason in said.items():
        (line,) = [line for line in lines if method in line]
        assert reason in line
        assert not (checkout.root / f"results/toy/metrics/{method}.json").exists()
    assert len(lines) == len(said), lines
    assert (checkout.root / "results/toy/metrics/random.json").exists()


def test_a_corrupt_input_is_named_before_it_is_used(checkout):
    path = checkout.root / "results/toy/features/gradients-000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (checkout.root / "results/toy/scores/graddot.safetensors").unlink()
    done = checkout.run_step("attribute", "results/toy/keys/scores/graddot.safetensors.json")
    assert done.returncode == 1
    assert "error: results/toy/features/gradients-000.safetensors: corrupt" in done.stdout
    assert not (checkout.root / "results/toy/scores/graddot.safetensors").exists()


@pytest.mark.parametrize(
    "command", ["verify", "provenance x", "prune", "publish", "unpack x.tar", "pack toy", "ui"]
)
def test_outside_of_a_checkout_is_one_line_and_leaves_nothing(fresh, tmp_path, command):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = [sys.executable, "-c", "from proponent.cli import main; main()", *command.split()]
    done = subprocess.run(program, cwd=elsewhere, env=fresh.environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: no params.yaml in {elsewhere}: run this from the root of a proponent checkout\n"
    )
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("path", ["results/toy/metrics/trakk.json", "results/toy/scores/trak.safetensors"])
def test_a_path_that_is_not_a_metrics_file_cannot_be_published(checkout, path):
    done = checkout.run_step("publish", path)
    assert done.returncode == 1
    assert (
        f"error: {path}: not a metrics file; name one like results/SETTING/metrics/METHOD.json" in done.stdout
    )


def test_a_misspelt_target_is_named_with_the_nearest(fresh):
    done = fresh.snakemake("-n", "results/toi/metrics/trak.json", check=False)
    assert done.returncode != 0
    assert "results/toi/metrics/trak.json: no configured setting, design or method makes it" in done.stdout
    assert "did you mean 'results/toy/metrics/trak.json'?" in done.stdout


def test_two_runs_at_once_in_one_checkout(fresh):
    data = "results/toy/data/train.safetensors"
    wait = "    while not Path('second.txt').exists():\n        time.sleep(0.1)\n"
    fresh.edit(
        "toy/factories.py", "import torch\n", "import time\nfrom pathlib import Path\n\nimport torch\n"
    )
    fresh.edit("toy/factories.py", "    return Split", f"{wait}    return Split")
    first = subprocess.Popen(
        fresh.command(data),
        cwd=fresh.root,
        env=fresh.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (fresh.root / "logs").exists():
        time.sleep(0.1)
    assert "is already running in this checkout" in complaint(fresh)
    assert fresh.snakemake("-n", check=False).returncode == 0, "a dry run may look on"
    assert first.poll() is None
    (fresh.root / "second.txt").touch()
    assert first.wait(timeout=900) == 0
    assert (fresh.root / data).exists()


def test_a_results_folder_that_cannot_be_written(fresh):
    (fresh.root / "results").write_text("a file in the way")
    done = fresh.snakemake(check=False)
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "results" in done.stdout


def test_a_method_that_cannot_run_says_which_need_is_missing(fresh):
    done = fresh.snakemake("-n", "--config", "methods=[trak,trak-10]")
    assert (
        "left out: toy/trak-10 needs 10 ensemble members, and configs/settings/toy.yaml has 2" in done.stdout
    )


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (lambda **_: numpy.ones(2**56), "memory"),
        (lambda **_: torch.ones(2**56), "memory"),
        (lambda **_: raise_(torch.OutOfMemoryError("CUDA out of memory")), "the GPU's memory"),
    ],
)
def test_a_job_that_runs_out_of_memory_says_what_to_lower(fail, said, monkeypatch, capsys):

    monkeypatch.setattr("proponent.cli.cli", fail)
    monkeypatch.setattr("sys.path", [*sys.path])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    lower = "lower compute.lockstep or compute.memory_mib in params.yaml"
    assert capsys.readouterr().err == f"error: out of {said}; {lower}\n"
