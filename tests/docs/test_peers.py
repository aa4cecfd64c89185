"""docs/peers.md and the comparison that writes it. No other library is needed: measurements of them are made up here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from docs.guides import REPOSITORY

PEERS = REPOSITORY / "benchmarks/peers"
THUMBNAIL = (24, 3)


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """Make the scripts of the comparison importable, as they are when it runs."""
    added = [str(PEERS), str(PEERS / "adapters")]
    sys.path[:0] = added
    yield
    for each in added:
        sys.path.remove(each)


@pytest.fixture
def results(tmp_path):
    from results import Results

    return Results(tmp_path / "results.json")


def ran(seconds: float, **more) -> dict:
    stored = {"seconds": seconds, "peak_mib": 10.0, "versions": {"torch": "2"}, "load": 0.5}
    return {**stored, "processor": "P", **more}


def test_the_page_is_the_one_that_the_committed_measurements_give():
    from page import page
    from results import Results

    assert (REPOSITORY / "docs/peers.md").read_text(encoding="utf-8") == page(Results(PEERS / "results.json"))


def test_every_library_has_an_adapter_and_locked_requirements():
    import cells
    from code_lines import lines_of

    for library, about in cells.LIBRARIES.items():
        name, version = about.distribution.split()
        pins = (PEERS / f"environments/{library}.txt").read_text().casefold().splitlines()
        assert f"{name}=={version}".casefold() in pins
        assert all("==" in pin for pin in pins)
    for method, libraries in cells.METHODS.items():
        for library in (cells.OURS, *libraries):
            assert lines_of(library, method) > 3


def test_correlations_are_those_of_scipy_also_with_ties():
    import agreement

    random = np.random.default_rng(0)
    left, right = random.integers(0, 5, (4, 30)), random.normal(size=(4, 30))
    expected = [spearmanr(a, b).statistic for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(agreement.spearman(left, right), expected)
    expected = [pearsonr(a, b).statistic for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(agreement.pearson(left, right), expected)


def test_a_query_with_constant_scores_counts_as_no_agreement():
    import agreement

    left = np.arange(12.0).reshape(2, 6)
    assert agreement.medians(left, left) == {"spearman": pytest.approx(1), "pearson": pytest.approx(1)}
    assert agreement.medians(np.ones((2, 6)), left) == {"spearman": 0, "pearson": 0}


def test_a_run_that_was_cut_continues_where_it_was(results):
    from results import Results

    cell = ("mlp", "small", "graddot", "dattri")
    assert results.wants(cell, 0, slow=20)
    results.add(cell, 0, ran(1.0))
    again = Results(results.path)
    assert not again.wants(cell, 0, slow=20)
    assert again.wants(cell, 1, slow=20)
    again.add(cell, 1, ran(3.0))
    assert Results(results.path).seconds(cell) == [1.0, 3.0]


def test_calls_that_are_long_were_ended_or_failed_are_not_repeated(results):
    cell = ("mlp", "large", "if-cg", "dattri")
    for run in (ran(30.0), {"limit": 120.0}, {"error": "no memory"}):
        results.add(cell, 0, run)
        assert not results.wants(cell, 1, slow=20)


def test_ratios_are_of_medians_and_a_limit_gives_a_lower_bound(results):
    ours, theirs = (("mlp", "large", "if-cg", name) for name in ("proponent", "dattri"))
    for repetition, seconds in enumerate((1.0, 9.0, 2.0)):
        results.add(ours, repetition, ran(seconds))
    results.add(theirs, 0, ran(50.0))
    assert results.ratio(theirs) == (25.0, False)
    results.add(theirs, 0, {"limit": 120.0})
    assert results.ratio(theirs) == (60.0, True)
    results.add(theirs, 0, {"error": "no memory"})
    assert results.ratio(theirs) is None


def test_the_page_says_what_was_ended_what_failed_and_what_is_not_installed(results):
    from page import page

    results.describe({"cores": 2, "threads": 1, "limit": 120})
    results.set_errors({"traker": "ERROR: no such version"})
    results.add(("mlp", "large", "graddot", "proponent"), 0, ran(0.05))
    results.add(("mlp", "large", "graddot", "dattri"), 0, ran(10.0))
    results.add(("mlp", "large", "graddot", "captum"), 0, {"limit": 120.0, "processor": "P"})
    failure = {"error": "MemoryError: a | b", "processor": "P"}
    results.add(("mlp", "large", "graddot", "kronfluence"), 0, failure)
    rows = [[each.strip() for each in line.split("|")[1:-1]] for line in page(results).splitlines()]
    cells = {row[1]: row for row in rows if len(row) == 8 and row[0] == "graddot"}
    assert "2 cores of P; 1 thread for every library" in page(results)
    assert cells["dattri"][2:4] == ["10", "200 ×"]
    assert cells["captum"][2:4] == ["> 120", "> 2,400 ×"]
    assert cells["kronfluence"][2:4] == ["failed: MemoryError: a / b", ""]
    goal = next(row for row in rows if row[:3] == ["mlp", "graddot", "100 ×"])
    assert goal[3:] == ["", "captum > 2,400 ×, dattri 200 ×", "yes"]
    assert "- `traker`: ERROR: no such version" in page(results)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([], "not measured"),
        ([(120.0, False), (300.0, True)], "yes"),
        ([(99.0, False), (300.0, True)], "no"),
        ([(120.0, False), (50.0, True)], "not known: calls were ended before"),
    ],
)
def test_a_goal_is_reached_if_every_library_takes_that_long(ratios, verdict):
    from page import _reached

    assert _reached(ratios, 100) == verdict


def test_the_figure_is_drawn(results):
    from figure import draw

    results.add(("mlp", "large", "trak", "proponent"), 0, ran(1.0))
    results.add(("mlp", "large", "trak", "traker"), 0, {"limit": 120.0})
    assert b"<svg" in draw(results)


@pytest.fixture(scope="module")
def thumbnail(tmp_path_factory) -> Path:
    """Return a folder like that of a network: few random images, and models that are not trained."""
    from networks import conv
    from problems import save

    folder = tmp_path_factory.mktemp("work") / "conv"
    folder.mkdir()
    random = np.random.default_rng(0)
    n, q = THUMBNAIL
    x, y = random.random((n + q, 1, 28, 28), dtype=np.float32), np.arange(n + q) % 10
    save(folder / "data.npz", {"x_train": x[:n], "y_train": y[:n], "x_query": x[n:], "y_query": y[n:]})
    for name in (*(f"model-{index}" for index in range(10)), *(f"checkpoint-{index}" for index in range(4))):
        torch.manual_seed(sum(map(ord, name)))
        save(folder / f"{name}.npz", {key: value.numpy() for key, value in conv().state_dict().items()})
    return folder


@pytest.mark.slow
def test_a_method_is_measured_in_a_process_of_its_own(thumbnail, monkeypatch):
    import cells
    import run

    monkeypatch.setattr(run, "WORK", thumbnail.parent)
    monkeypatch.setitem(cells.SIZES, "small", THUMBNAIL)
    options = argparse.Namespace(threads=1, limit=60.0, memory_mib=4000)
    cell = ("conv", "small", "graddot", "proponent")
    found = run.measure(cell, options)
    assert {"seconds", "cpu_seconds", "peak_mib", "start_seconds", "versions"} <= found.keys(), found
    assert json.dumps(found)
    scores = np.load(thumbnail / "small-graddot-proponent.npz")["scores"]
    assert scores.shape == THUMBNAIL[::-1]
    ended = run.measure(cell, argparse.Namespace(threads=1, limit=1e-4, memory_mib=4000))
    assert ended == {"limit": 1e-4, "processor": run.processor()}
