"""Every command and example of ``docs/explaining.md`` is run, on the digits with one model."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from docs.guides import REPOSITORY, blocks_of
from docs.tiny_results import make_artefact
from proponent.commands.query_command import query_command
from proponent.config.benchmark import load_benchmark
from proponent.plan.run_plan import Plan

GUIDE = "docs/explaining.md"
BLOCKS = blocks_of(REPOSITORY / GUIDE)
OPEN, NEW, FEATURES, GROUPS, SELF = [block.text for block in BLOCKS if block.language == "python"]
COMMANDS = [line for block in BLOCKS if block.language == "bash" for line in block.text.splitlines()]
PARAMS = """\
settings: [digits-lr]
methods: [graddot, trak, dualda]
metrics: []
overrides:
  settings: {digits-lr: {ensemble: {members: 1, checkpoints: 1}, recipe: {epochs: 5}}}
  methods: {graddot: {tune: null}, trak: {tune: null}, dualda: {tune: null}}
"""
STEPS = ("data", "check", "train", "featurize", "attribute")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with results of the digits, and files with one of them as a new input."""
    root: Path = tmp_path_factory.mktemp("explaining") / "checkout"
    root.mkdir()
    for name in ("src", "workflow", "Snakefile", "configs"):
        (root / name).symlink_to(REPOSITORY / name)
    (root / "params.yaml").write_text(PARAMS)
    with contextlib.chdir(root):
        for node in Plan(load_benchmark(root, {})).graph.nodes.values():
            if node.step in STEPS:
                make_artefact(root, node)
    query = load_file(root / "results/digits-lr/data/query.safetensors")
    row = query["x"][17]
    pixels = (row / query["x"].max() * 255).round().to(torch.uint8).view(8, 8)
    Image.fromarray(pixels.numpy()).resize((32, 32)).save(root / "seven.png")
    save_file({"x": row}, root / "new.safetensors")
    names = ",".join(f"pixel{place}" for place in range(64))
    (root / "new.csv").write_text(f"{names}\n{','.join(str(value) for value in row.tolist())}\n")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_explains_a_query(made, monkeypatch, line):
    monkeypatch.chdir(made)
    program, name, *arguments = shlex.split(line)
    assert (program, name) == ("proponent", "query")
    done = CliRunner().invoke(query_command(lambda: made), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    for text in ("proponents", "opponents", "neighbours", "same class", "Examples that carry"):
        assert text in done.output
    page = made / "seven.html"
    if "--html" in line:
        html = page.read_text()
        assert html.count('alt="contributions to the score of the pair: features of the query"') == 10
        assert "https://" not in html
    assert list((made / ".proponent/digits-lr/images").glob("train-*.png"))


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run an example with the names of those before it, and return all names."""
    exec(compile(block, GUIDE, "exec"), names)  # noqa: S102 -- the page of this repository
    return names


def test_the_examples_in_their_order(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    names = run(OPEN, {})
    assert names["found"].proponents.indices[0] == np.argmax(names["scores"][17])
    capsys.readouterr()
    new = run(NEW, names)["new"]
    assert new.proponents.indices[0] in names["found"].proponents.indices
    pair = run(FEATURES, names)["pair"]
    assert max(pair.query.gap, pair.train.gap) < 0.01
    assert pair.score == pytest.approx(float(names["scores"][17].max()), rel=1e-4)
    assert names["test"].ci_low > 0
    run(GROUPS, names)
    labels = names["results"].train[1].numpy()
    for clusters in (names["clusters"], names["similar"]):
        assert sum(clusters.sizes) == (labels == 3).sum()
        assert {int(labels[row]) for rows in clusters.exemplars for row in rows} == {3}
    run(SELF, names)
    assert names["carried"].shape == (150, 3)
    assert 0 < len(names["support"].indices) < len(labels)
    assert len(names["extremes"].to_frame()) == 20
    assert "examples hold up" in capsys.readouterr().out
