"""Scores from Python are those of the DAG for the same checkpoints, for every method that a trained model is enough for.

Attributors of the finished run (``proponent.open``) share the results, and so does ``proponent query``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

import proponent
from docs.tiny_results import MODULE, make_results
from proponent.attributor import Attributor
from proponent.commands.query_command import query_command
from proponent.errors import UserError
from proponent.explanations.strongest_examples import strongest
from proponent.methods.shared.needs import NEEDS
from proponent.trained import stored_member
from proponent.trained.live_member import LiveMember
from proponent.trained.method_choice import OF_MODELS, choose_method, method_names

SETTING = "formulas"


def runs_on_models(name: str) -> bool:
    """Return whether a method needs nothing but one trained model, on rows that are no texts."""
    choice = choose_method(name, {})
    enough = {*OF_MODELS, "data", "workspace"}
    return (
        set(choice.needs) <= enough
        and choice.config.members == 1
        and name not in ("bm25", "tfidf", "tracin-we")
    )


METHODS = [name for name in method_names() if runs_on_models(name)]


def test_the_needs_that_a_trained_model_meets_are_needs():
    assert set(OF_MODELS) <= set(NEEDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dag") / "checkout"
    make_results(root, {SETTING: METHODS}, {})
    return root


def read(root: Path, part: str) -> tuple[Tensor, Tensor]:
    tensors = load_file(root / f"results/{SETTING}/data/{part}.safetensors")
    return tensors["x"], tensors["y"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_scores_and_self_influence_equal_those_of_the_dag(made, method):
    member = made / f"results/{SETTING}/ensemble/member-000"
    training = json.loads((member / "training.json").read_text())
    files = [*sorted(member.glob("step-*.safetensors")), member / "final.safetensors"]
    checkpoints = list(zip(files, training["learning_rates"], training["steps"], strict=True))
    scores = made / f"results/{SETTING}/scores/{method}.safetensors"
    params = json.loads(Path(f"{scores}.manifest.json").read_text())["details"]["hyper_parameters"]
    own_params = {
        name: value for name, value in params.items() if name != "checkpoints" or isinstance(value, int)
    }
    attributor = Attributor(
        method,
        sys.modules[MODULE].net(),
        read(made, "train"),
        checkpoints=checkpoints,
        weight_decay=0.01,
        momentum=0.5,
        **own_params,
    )
    expected = load_file(scores)
    found = attributor.attribute(read(made, "query"))
    scale = expected["scores"].abs().max()
    torch.testing.assert_close(found, expected["scores"], rtol=1e-6, atol=1e-6 * float(scale))
    if "self_influence" in expected:
        own = attributor.self_influence()
        torch.testing.assert_close(
            own, expected["self_influence"], rtol=1e-6, atol=1e-6 * float(own.abs().max())
        )


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_an_attributor_of_finished_results_gives_their_scores(made, method):
    results = proponent.open(made / f"results/{SETTING}")
    attributor = results.attributor(method, cache=False)
    expected = results.scores(method)
    found = attributor.attribute(results.queries()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * float(np.abs(expected).max()))
    if "self_influence" in load_file(made / f"results/{SETTING}/scores/{method}.safetensors"):
        own = results.self_influence(method)
        np.testing.assert_allclose(
            attributor.self_influence(), own, rtol=1e-6, atol=1e-6 * float(np.abs(own).max())
        )


def test_stored_features_are_read_and_changed_ones_are_not_used(made, monkeypatch):
    results = proponent.open(made / f"results/{SETTING}")
    computed = []
    plain = LiveMember._stored
    monkeypatch.setattr(
        LiveMember, "_stored", lambda self, kind, *rest: computed.append(kind) or plain(self, kind, *rest)
    )
    results.attributor("graddot", cache=False).attribute(results.queries(0))
    assert not computed
    monkeypatch.setattr(stored_member, "agree", lambda *parts: False)
    scores = results.attributor("graddot", cache=False).attribute(results.queries(0)).numpy()
    assert computed == ["gradients"]
    np.testing.assert_allclose(scores, results.scores("graddot")[:1], rtol=1e-5, atol=1e-6)


def test_a_later_process_finds_the_factorisation(made, monkeypatch, tmp_path):
    results = proponent.open(made / f"results/{SETTING}")
    first = results.attributor("trak", cache=tmp_path).attribute(results.queries())
    made_again = []
    plain = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda *a, **k: made_again.append(1) or plain(*a, **k))
    second = results.attributor("trak", cache=tmp_path).attribute(results.queries())
    assert not made_again
    assert torch.equal(first, second)


def test_results_are_read_as_arrays_and_frames(made):
    results = proponent.open(made / f"results/{SETTING}")
    assert set(results.methods) == set(METHODS)
    assert results.scores("trak").shape == (6, 30)
    assert results.metrics().columns.tolist() == ["method", "metric", "value", "ci_low", "ci_high", "ceiling"]
    x, y = results.queries([1, 2])
    assert (len(x), len(y)) == (2, 2)
    with pytest.raises(UserError, match="there is no query 6; its queries are 0 to 5"):
        results.queries(6)
    with pytest.raises(UserError, match="no scores of a method 'trakk'"):
        results.attributor("trakk")
    with pytest.raises(UserError, match="there are no results of a setting"):
        proponent.open(made / "results/nowhere")


def test_explanations_of_finished_results(made):
    results = proponent.open(made / f"results/{SETTING}")
    explainer = proponent.Explainer(results.attributor("dualda", cache=False))
    found = explainer.explain(results.queries([0, 3]), 3)
    assert [entry.proponents.indices.tolist() for entry in found] == [
        strongest(results.scores("dualda")[row], 3)[0].tolist() for row in (0, 3)
    ]
    stored = results.explain("dualda", 3, 3)
    assert stored.proponents.indices.tolist() == found[1].proponents.indices.tolist()
    assert stored.carried_by == found[1].carried_by
    support = explainer.support_vectors()
    assert found[0].supported_by <= len(support.indices) <= 30
    x, y = explainer.labelled(results.queries([0, 1, 2])[0])
    assert y.tolist() == [entry.predicted for entry in explainer.explain((x, y))]
    assert explainer.extremes(2).to_frame()["list"].tolist() == ["most"] * 2 + ["least"] * 2
    for by in ("gradients", "representations"):
        clusters = explainer.clusters(2, by=by, label=1)
        assert {index % 3 for group in clusters.exemplars for index in group} == {1}


def query(root: Path, monkeypatch, *arguments: str) -> str:
    """Run ``proponent query`` in a checkout and return what it prints."""
    monkeypatch.chdir(root)
    command = query_command(lambda: root)
    done = CliRunner().invoke(command, ["--setting", SETTING, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_prints_a_query_of_the_run_and_writes_its_page(made, monkeypatch, tmp_path):
    page = tmp_path / "page.html"
    arguments = ("--features", "integrated-gradients", "--html", str(page))
    printed = query(made, monkeypatch, "--query", "3", "--method", "trak", "--top", "2", *arguments)
    best = int(np.argmax(proponent.open(made / f"results/{SETTING}").scores("trak")[3]))
    assert re.search(rf"proponents │ +{best} │", printed)
    assert "scored and explained in" in printed
    html = page.read_text()
    assert "query 3 explained by trak" in html
    assert html.count("features of the query") == 2
    assert not re.search(r"(src|href)=.http", html)


def test_the_command_takes_new_inputs_and_labels(made, monkeypatch, tmp_path):
    table = tmp_path / "queries.csv"
    table.write_text("a,b\n0.1,0.2\n2.0,0.1\n")
    printed = query(made, monkeypatch, "--file", str(table), "--method", "graddot", "--top", "1")
    assert "queries.csv, row 1" in printed
    assert "label" in printed
    labelled = query(made, monkeypatch, "--file", str(table), "--method", "graddot", "--label", "2")
    assert "label 2" in labelled
    with pytest.raises(UserError, match="give one of --query, --image"):
        query(made, monkeypatch, "--method", "graddot")
    with pytest.raises(UserError, match="has no function 'tokenizer'"):
        query(made, monkeypatch, "--method", "graddot", "--text", "a text")
