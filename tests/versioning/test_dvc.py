"""DVC's view of a run, and real remotes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs.guides import blocks_of
from workflow.checkout import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture
def sftp_port(tmp_path: Path) -> Iterator[int]:
    """Port of a running SSH server, which serves `tmp_path/served` to the key `tmp_path/client`."""
    (tmp_path / "served").mkdir()
    command = [
        sys.executable,
        str(Path(__file__).with_name("sftp_server.py")),
        str(tmp_path / "served"),
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield int(server.stdout.readline())
        server.terminate()


def server_of_the_guide(port: int, key: Path) -> list[str]:
    """Return the commands of docs/versioning.md for a server, with the port and key of this server."""
    (block,) = (block for block in blocks_of(REPOSITORY / "docs/versioning.md") if block.language == "sh")
    text = block.text.replace("lab.example.org/data/proponent", f"127.0.0.1:{port}/proponent")
    return text.replace("~/.ssh/id_ed25519", str(key)).splitlines()


def test_every_setting_in_params_yaml_is_a_stage(origin):
    assert origin.dvc("stage", "list", "--name-only").split() == ["benchmark@toy", "leaderboard"]


def test_every_result_except_key_files_and_timings_is_versioned(origin):
    listed = set(origin.dvc("list", ".", "-R", "--dvc-only").split())
    made = {str(path.relative_to(origin.root)) for path in origin.root.glob("results/**/*") if path.is_file()}
    left_out = {
        name
        for name in made
        if "/keys/" in name
        or "/benchmarks/" in name
        or Path(name).name in (".gitignore", ".running", ".times")
    }
    assert listed == made - left_out


def test_partial_files_of_a_killed_job_are_not_versioned(pulled):
    for name in (".trak.safetensors.4711.tmp", ".trak.safetensors.lease.000001"):
        (pulled.root / "results/toy/scores" / name).write_text("half")
    assert "up to date" in pulled.dvc("status")


def test_an_ssh_server_as_remote(origin, tmp_path, sftp_port):
    origin.git("clone", "-q", str(origin.root), str(tmp_path / "first"))
    first = type(origin)(tmp_path / "first")
    first.dvc("pull")
    for line in server_of_the_guide(sftp_port, tmp_path / "client"):
        first.run(*shlex.split(line))
    first.commit("Our server")

    first.git("clone", "-q", str(first.root), str(tmp_path / "second"))
    second = type(origin)(tmp_path / "second")
    second.dvc("remote", "modify", "--local", "lab", "keyfile", str(tmp_path / "client"))
    second.dvc("pull")
    assert any((tmp_path / "served").rglob("*"))
    assert second.tensors() == origin.tensors()
    assert second.planned() == {}
    second.run("proponent", "verify")


def test_metrics_parameters_and_plots_are_compared_by_method(pulled):
    shown = json.loads(pulled.dvc("metrics", "show", "--json"))[""]["data"]["results/summaries/toy.json"][
        "data"
    ]
    assert shown["trak"]["lds"] == pulled.metrics("trak")["lds"]["value"]
    pulled.edit(
        "params.yaml",
        "methods: [",
        "overrides: {methods: {graddot: {params: {normalise: true}}}}\nmethods: [",
    )
    pulled.make_all()
    pulled.dvc("repro")
    changed = json.loads(pulled.dvc("metrics", "diff", "--json"))["results/summaries/toy.json"]
    assert "graddot.lds" in changed
    assert set(changed) <= {"graddot.lds", "graddot.loo"}
    parameters = json.loads(pulled.dvc("params", "diff", "--json"))["params.yaml"]
    assert parameters["overrides.methods.graddot.params.normalise"]["new"] is True
    pulled.dvc("plots", "diff", "-o", "plots")
    page = (pulled.root / "plots/index.html").read_text()
    assert "graddot" in page and "workspace" in page


def test_params_diff_reports_a_changed_configuration_file(pulled):
    pulled.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    changed = json.loads(pulled.dvc("params", "diff", "--json"))
    assert changed == {"configs/settings/toy.yaml": {"recipe.lr": {"old": 0.2, "new": 0.1, "diff": -0.1}}}


def test_dvc_sends_no_data_by_default():
    config = (REPOSITORY / ".dvc/config").read_text()
    assert "analytics = false" in config and "remote" not in config


def test_no_job_calls_dvc():
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow").rglob("*.smk"))
    assert "dvc" not in rules.lower().replace("for dvc", "").replace("what dvc", "")
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert set(stages) == {"benchmark", "leaderboard"}
