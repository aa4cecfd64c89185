"""Metrics that retrain, from scores to values, on sixty points: masks, retrainings, evaluation and interruption."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from docs.tiny_results import make_artefact
from oracles.training import train_alone
from proponent.errors import UserError
from proponent.plan.graph import Node
from proponent.settings.factories import build_model
from proponent.settings.tasks.class_labels import margin
from proponent.steps.io.job import Job
from proponent.steps.io.retrainer import Retrainer
from proponent.steps.select_examples import Selection, run
from proponent.store.arrays import load_arrays, save_arrays
from proponent.store.manifest import read_manifest
from proponent.training.masked_runs import masked_run
from steps.planned_jobs import make, one_setting
from workflow.checkout import FACTORIES, REPOSITORY

pytestmark = pytest.mark.slow

METRICS = (
    "counterfactual",
    "data-support",
    "group-influence-classes",
    "group-influence-sources",
    "lds-fractions",
    "coreset",
    "coreset-balanced",
    "tail-patch",
    "cleaning-gain",
)
SETTING = """\
dataset: {factory: "masked_factories:blobs", args: {n: 60}}
model: {factory: "masked_factories:net", args: {width: 5}}
task: classification
recipe: {optimizer: sgd, lr: 0.2, epochs: 6, batch_size: 20}
ensemble: {members: 2, checkpoints: 1}
designs: {}
queries: {tune: 4, test: 5}
seed: 3
sources: writers.txt
"""
PARAMS = f"""\
methods: [random, graddot, same-label]
metrics: [{", ".join(METRICS)}]
compute: {{models_per_job: 30, lockstep: 10, memory_mib: 500}}
overrides:
  metrics:
    counterfactual: {{design: {{shares: [0.05, 0.2], seeds: 2}}}}
    group-influence-classes: {{design: {{count: 20, seeds: 2}}}}
    group-influence-sources: {{design: {{count: 4, seeds: 2}}}}
    lds-fractions: {{design: {{shares: [0.25, 0.75], count: 6}}}}
    data-support: {{design: {{shares: [0.5], rounds: 3, seeds: 2}}}}
    coreset: {{design: {{shares: [0.2, 0.5], seeds: 2}}}}
    coreset-balanced: {{design: {{shares: [0.2, 0.5], seeds: 2}}}}
    tail-patch: {{design: {{count: 4, seeds: 2}}}}
    cleaning-gain: {{design: {{shares: [0.1, 0.3], seeds: 2, count: 2}}}}
"""
WRITERS = "".join(f"{'abcc'[number % 4]}\n" for number in range(60))
STEPS = (
    "data",
    "check",
    "train",
    "featurize",
    "attribute",
    "derive_masks",
    "retrain_masks",
    "search_removal",
    "patch_models",
    "evaluate",
)
DERIVED = "results/masked/ground_truth/derived"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Node]]]:
    root = tmp_path_factory.mktemp("masked")
    with one_setting(root, "masked", SETTING, FACTORIES, PARAMS) as plan:
        (root / "writers.txt").write_text(WRITERS)
        nodes = plan()
        for step in STEPS:
            make(root, nodes, step)
        yield root, nodes


def arrays(root: Path, path: str) -> dict[str, np.ndarray]:
    return load_arrays(root / path)


def test_masks_leave_out_the_examples_with_the_largest_scores(finished):
    root, _ = finished
    scores = arrays(root, "results/masked/scores/graddot.safetensors")["scores"]
    found = arrays(root, f"{DERIVED}/counterfactual/masks/graddot.safetensors")
    for query, rows in enumerate(found["rows_scores"]):
        for row, size in zip(rows, (3, 12), strict=True):
            removed = np.flatnonzero(~found["masks"][row])
            assert len(removed) == size
            kept = found["masks"][row]
            assert scores[4 + query][removed].min() >= scores[4 + query][kept].max()


def test_coresets_keep_the_examples_with_the_largest_mean_score_over_tune_queries(finished):
    root, _ = finished
    values = arrays(root, "results/masked/scores/graddot.safetensors")["scores"][:4].mean(axis=0)
    found = arrays(root, f"{DERIVED}/coreset/masks/graddot.safetensors")
    assert set(np.flatnonzero(found["masks"][found["rows_best"][0]])) == set(np.argsort(-values)[:12])
    assert set(np.flatnonzero(found["masks"][found["rows_worst"][1]])) == set(np.argsort(values)[:30])
    y = arrays(root, "results/masked/data/train.safetensors")["y"]
    balanced = arrays(root, f"{DERIVED}/coreset-balanced/masks/graddot.safetensors")
    kept = balanced["masks"][balanced["rows_best"][0]]
    assert np.bincount(y[kept]).tolist() == [4, 4, 4]


def test_the_most_suspicious_examples_are_left_out(finished):
    """By self-influence, and by minus the mean score over the tune queries for a method without it."""
    root, _ = finished
    badness = {
        "graddot": arrays(root, "results/masked/scores/graddot.safetensors")["self_influence"],
        "random": -arrays(root, "results/masked/scores/random.safetensors")["scores"][:4].mean(axis=0),
    }
    for method, values in badness.items():
        found = arrays(root, f"{DERIVED}/cleaning-gain/masks/{method}.safetensors")
        for row, size in zip(found["rows_suspects"], (6, 18), strict=True):
            assert set(np.flatnonzero(~found["masks"][row])) == set(np.argsort(-values)[:size])
    shared = arrays(root, f"{DERIVED}/cleaning-gain/masks/all-methods.safetensors")
    assert shared["masks"][shared["rows_all"]].all()
    assert (~shared["masks"][shared["rows_random"]]).sum(axis=2).tolist() == [[6, 18], [6, 18]]


def test_every_class_is_left_out_once(finished):
    root, _ = finished
    y = arrays(root, "results/masked/data/train.safetensors")["y"]
    found = arrays(root, f"{DERIVED}/group-influence-classes/masks/all-methods.safetensors")
    left_out = [np.unique(y[~found["masks"][row]]).tolist() for row in found["rows_classes"]]
    assert left_out == [[0], [1], [2]]
    assert found["masks"][found["rows_all"]].all()


def test_every_source_is_left_out_once_the_largest_first(finished):
    root, _ = finished
    found = arrays(root, f"{DERIVED}/group-influence-sources/masks/all-methods.safetensors")
    names = np.array(WRITERS.splitlines())
    left_out = [set(names[~found["masks"][row]]) for row in found["rows_sources"]]
    assert left_out == [{"c"}, {"a"}, {"b"}]


def test_a_file_of_sources_with_other_lines_is_refused(finished):
    root, nodes = finished
    (root / "writers.txt").write_text(WRITERS + "a\n")
    try:
        with (
            contextlib.chdir(root),
            pytest.raises(UserError, match=r"writers.txt: has 61 lines, but there are 60"),
        ):
            make_artefact(
                root, nodes[f"{DERIVED}/group-influence-sources/masks/all-methods.safetensors"], again=True
            )
    finally:
        (root / "writers.txt").write_text(WRITERS)


@pytest.mark.parametrize(("metric", "source"), [("counterfactual", "graddot"), ("coreset", "all-methods")])
def test_each_retraining_is_that_of_an_ordinary_loop(finished, metric, source):
    root, nodes = finished
    shard = f"{DERIVED}/{metric}/shards/{source}-0000.safetensors"
    masks = arrays(root, f"{DERIVED}/{metric}/masks/{source}.safetensors")["masks"]
    spec, found = nodes[shard].spec, arrays(root, shard)
    train = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/train.safetensors").items()}
    query = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/query.safetensors").items()}
    for index in (0, 3):
        mask = torch.from_numpy(masks[index // 2])
        run = masked_run(mask, -1, index % 2, 3, "", by_weight=metric == "counterfactual")
        model, _, _ = train_alone(
            lambda seed: build_model(spec.model, seed), train["x"], train["y"], spec.recipe, run
        )
        with torch.no_grad():
            outputs = model(query["x"])
        expected = margin(outputs, query["y"]).numpy()
        np.testing.assert_allclose(found["targets"][index], expected, rtol=1e-4, atol=1e-4)
        assert found["correct"][index].tolist() == (outputs.argmax(1) == query["y"]).tolist()


def test_shards_beyond_the_distinct_masks_are_empty(finished):
    root, _ = finished
    masks = arrays(root, f"{DERIVED}/group-influence-classes/masks/all-methods.safetensors")["masks"]
    assert len(masks) == 4  # of at most 21
    shards = sorted((root / DERIVED / "group-influence-classes/shards").glob("*.safetensors"))
    assert [len(load_arrays(path)["targets"]) for path in shards] == [8, 0]


def test_every_metric_has_values_and_the_cost_is_that_of_the_benchmark(finished):
    root, _ = finished
    for method in ("random", "graddot", "same-label"):
        document = json.loads((root / f"results/masked/metrics/{method}.json").read_text())
        assert set(document["metrics"]) == {
            *(
                "counterfactual_drop",
                "counterfactual_flips",
                "group_influence_classes",
                "group_influence_sources",
                "data_support",
            ),
            *("lds_removed_25", "lds_removed_75", "coreset_keep_best", "coreset_remove_best"),
            *("coreset_balanced_keep_best", "coreset_balanced_remove_best", "tail_patch"),
            *("cleaning_gain_10", "cleaning_gain_30"),
        }
        shards = [
            path for path in (root / DERIVED).rglob(f"{method}-*.safetensors") if path.parent.name != "masks"
        ]
        manifests = [read_manifest(path) for path in shards]
        assert document["cost"]["metric_retrainings"] == sum(m.details["retrainings"] for m in manifests)
        assert document["cost"]["metric_retraining_seconds"] > 0
        assert not any("derived" in path for path in document["cost"]["ledger"])


@pytest.mark.parametrize("source", ["graddot", "all-methods"])
def test_the_smallest_removal_is_that_of_an_ordinary_loop(finished, source):
    """Bisection one query after the other, with models that are trained alone."""
    root, nodes = finished
    found = [
        arrays(root, str(path.relative_to(root)))
        for path in sorted((root / DERIVED / "data-support/searches").glob(f"{source}-*.safetensors"))
    ]
    smallest = np.concatenate([shard["smallest"] for shard in found])
    predicted = np.concatenate([shard["predicted"] for shard in found])
    stored = arrays(root, f"{DERIVED}/data-support/masks/{source}.safetensors")
    spec = nodes[f"{DERIVED}/data-support/searches/{source}-0000.safetensors"].spec
    train = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/train.safetensors").items()}
    query = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/query.safetensors").items()}

    def is_right(removed: np.ndarray, seed: int, number: int) -> bool:
        mask = torch.ones(60, dtype=torch.bool)
        mask[removed] = False
        run = masked_run(mask, -1, seed, 3, "", by_weight=True)
        model, _, _ = train_alone(
            lambda init: build_model(spec.model, init), train["x"], train["y"], spec.recipe, run
        )
        with torch.no_grad():
            return bool(model(query["x"][number : number + 1]).argmax() == query["y"][number])

    for order, number, size, share in list(
        zip(stored["orders"], stored["queries"], smallest, predicted, strict=True)
    )[:4]:
        right = [seed for seed in (0, 1) if is_right(order[:0], seed, number)]
        assert share == len(right) / 2
        if not right:
            continue

        def flips(k: int, order=order, number=number, right=right) -> bool:
            return 2 * sum(not is_right(order[:k], seed, number) for seed in right) >= len(right)

        low, high = 0, 30
        if not flips(30):
            assert size == 0
            continue
        for _ in range(3):
            if high - low <= 1:
                break
            middle = min(max(round((max(low, 1) * high) ** 0.5), low + 1), high - 1)
            low, high = (low, middle) if flips(middle) else (middle, high)
        assert size == high


@pytest.mark.parametrize("source", ["graddot", "all-methods"])
def test_steps_on_proponents_are_those_of_torch(finished, source):
    """The oracle takes one step of torch.optim on the examples of a mask, from the stored final model."""
    root, nodes = finished
    path = f"{DERIVED}/tail-patch/patches/{source}.safetensors"
    found, spec = arrays(root, path), nodes[path].spec
    train = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/train.safetensors").items()}
    query = {k: torch.from_numpy(v) for k, v in arrays(root, "results/masked/data/query.safetensors").items()}
    assert len(found["targets"]) == 2 * len(found["masks"])
    for index in range(0, len(found["targets"]), 3):
        row, member = divmod(index, 2)
        model = build_model(spec.model, 0)
        state = arrays(root, f"results/masked/ensemble/member-00{member}/final.safetensors")
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        batch = torch.from_numpy(found["masks"][row])
        if batch.any():
            assert batch.sum() == 4
            optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
            torch.nn.functional.cross_entropy(model(train["x"][batch]), train["y"][batch]).backward()
            optimizer.step()
        else:
            assert row == found["rows_none"]
        with torch.no_grad():
            expected = margin(model(query["x"]), query["y"]).numpy()
        np.testing.assert_allclose(found["targets"][index], expected, rtol=1e-4, atol=1e-4)


def test_the_examples_of_a_step_are_the_strongest_proponents_and_its_gain_is_the_metric(finished):
    root, _ = finished
    scores = arrays(root, "results/masked/scores/graddot.safetensors")["scores"][4:]
    own, shared = (
        arrays(root, f"{DERIVED}/tail-patch/patches/{name}.safetensors")
        for name in ("graddot", "all-methods")
    )
    before, gains = shared["targets"].reshape(-1, 2, 9)[shared["rows_none"]], []
    for query, row in enumerate(own["rows_scores"]):
        assert set(np.flatnonzero(own["masks"][row])) == set(np.argsort(-scores[query])[:4])
        gains.append(own["targets"].reshape(-1, 2, 9)[row, :, 4 + query] - before[:, 4 + query])
    y, y_query = (arrays(root, f"results/masked/data/{part}.safetensors")["y"] for part in ("train", "query"))
    for query, row in enumerate(shared["rows_same_class"]):
        assert (y[shared["masks"][row]] == y_query[4 + query]).all()
    found = json.loads((root / "results/masked/metrics/graddot.json").read_text())["metrics"]["tail_patch"]
    assert found["value"] == pytest.approx(np.mean(gains), rel=1e-5)
    assert found["per_query"] == pytest.approx(np.mean(gains, axis=1), rel=1e-5)
    assert found["value"] > 0 and found["over_random_low"] > 0
    assert (found["k"], found["n_members"], found["n_queries"]) == (4, 2, 5)


def test_the_agreement_of_metrics_reads_a_finished_run(finished):
    """The table of docs/findings.md, here of two methods and of all metrics of this file."""
    root, _ = finished
    spec = importlib.util.spec_from_file_location(
        "metric_agreement", REPOSITORY / "benchmarks/metric_agreement.py"
    )
    metric_agreement = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metric_agreement)
    found = metric_agreement.record(root, ["masked"], min_methods=2)
    pairs = {(first, second): value for _, first, second, value, *_ in found["by_setting"]}
    metrics = {
        method: json.loads((root / f"results/masked/metrics/{method}.json").read_text())["metrics"]
        for method in ("graddot", "same-label")
    }
    for (first, second), value in pairs.items():
        signs = [
            np.sign(metrics["graddot"][n]["value"] - metrics["same-label"][n]["value"])
            for n in (first, second)
        ]
        assert value == pytest.approx(np.prod(signs))
    assert ("counterfactual_drop", "tail_patch") in pairs
    assert metric_agreement.section(found).count("| `tail_patch` |") == 1


def test_gradients_remove_better_than_chance(finished):
    root, _ = finished
    drop = json.loads((root / "results/masked/metrics/graddot.json").read_text())["metrics"][
        "counterfactual_drop"
    ]
    assert drop["over_random_low"] > 0
    assert set(drop) >= {"same_class", "similar", "curve_scores", "curve_random_low"}
    chance = json.loads((root / "results/masked/metrics/random.json").read_text())["metrics"]
    assert chance["counterfactual_drop"]["over_random_low"] < 0.05


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("counterfactual/shards/random-0000", [10] * 3),  # of two groups, the second one twice
        ("data-support/searches/random-0000", None),
    ],
)
def test_a_shard_that_was_killed_continues_and_gives_the_same_bytes(finished, monkeypatch, path, expected):
    root, nodes = finished
    path = f"{DERIVED}/{path}.safetensors"
    before = (root / path).read_bytes()
    trained, groups = Retrainer.train, []

    def counted(self, runs):
        groups.append(len(runs))
        if len(groups) == 2:
            raise KeyboardInterrupt
        return trained(self, runs)

    monkeypatch.setattr(Retrainer, "train", counted)
    with contextlib.chdir(root):
        with pytest.raises(KeyboardInterrupt):
            make_artefact(root, nodes[path], again=True)
        make_artefact(root, nodes[path], again=True)
    assert (root / path).read_bytes() == before
    if expected:
        assert groups == expected
    manifest = read_manifest(root / path)
    assert manifest.details["retrainings"] == sum(groups) - groups[1]


def test_a_method_that_is_left_out_has_no_masks(finished):
    root, nodes = finished
    path = f"{DERIVED}/coreset/masks/same-label.safetensors"
    scores = root / "results/masked/scores/same-label.safetensors"
    kept, node = scores.read_bytes(), nodes[path]
    before = (root / path).read_bytes()
    try:
        save_arrays(scores, {}, {"left_out": "a reason"})
        job_read = Job.read
        with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Job, "read", lambda self, name: root / name if "scores" in name else job_read(self, name)
            )
            make_artefact(root, node, again=True)
        assert arrays(root, path)["masks"].shape == (0, 60)
    finally:
        scores.write_bytes(kept)
        (root / path).write_bytes(before)


def selected(root: Path, tmp_path: Path, **options) -> tuple[list[dict[str, str]], str]:
    """Return the rows of the CSV file, and what is printed."""
    printed = io.StringIO()
    output = tmp_path / "kept.csv"
    run(root, Selection("masked", **options), output, Console(file=printed, width=120))
    with output.open() as stream:
        return list(csv.DictReader(stream)), printed.getvalue()


def test_selected_examples_have_the_largest_mean_scores_for_the_targets(finished, tmp_path):
    root, _ = finished
    scores = arrays(root, "results/masked/scores/graddot.safetensors")["scores"]
    y = arrays(root, "results/masked/data/train.safetensors")["y"]
    rows, printed = selected(root, tmp_path, method="graddot", keep=0.3, queries="5,7-8")
    values = scores[[5, 7, 8]].astype(float).mean(axis=0)
    assert [int(row["example"]) for row in rows] == np.argsort(-values)[:18].tolist()
    assert [float(row["value"]) for row in rows] == pytest.approx(np.sort(values)[::-1][:18], rel=1e-4)
    assert all(int(row["label"]) == y[int(row["example"])] for row in rows)
    assert "18 of 60 examples" in printed


def test_the_selection_for_tune_queries_is_the_coreset_whose_accuracy_is_shown(finished, tmp_path):
    root, _ = finished
    found = arrays(root, f"{DERIVED}/coreset/masks/same-label.safetensors")
    rows, printed = selected(root, tmp_path, method="same-label", keep=0.2)
    coreset = np.flatnonzero(found["masks"][found["rows_best"][0]])
    assert sorted(int(row["example"]) for row in rows) == coreset.tolist()
    entry = json.loads((root / "results/masked/metrics/same-label.json").read_text())["metrics"]
    point = entry["coreset_keep_best"]["curve_best"][0]
    assert f"20 % {point:.3f} [" in " ".join(printed.split())
    chosen, quiet = Selection("masked", "same-label", 0.2), Console(file=io.StringIO())
    for name, beginning in {"curve.svg": b"<?xml", "curve.png": b"\x89PNG"}.items():
        run(root, chosen, tmp_path / "again.csv", quiet, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(beginning)
    with pytest.raises(UserError, match=r"--figure: give a name that ends in \.svg or \.png, not curve\.pdf"):
        run(root, chosen, tmp_path / "never.csv", quiet, tmp_path / "curve.pdf")
    assert not (tmp_path / "never.csv").exists()
    balanced, _ = selected(root, tmp_path, method="graddot", keep=0.2, balanced=True)
    assert sorted(int(row["label"]) for row in balanced) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"method": "graddott", "keep": 0.3},
            r"did you mean 'graddot'\?; make it with: snakemake results/masked/scores",
        ),
        ({"method": "graddot", "keep": 30}, "--keep must be a share between 0 and 1, not 30"),
        ({"method": "graddot", "keep": 0.3, "queries": "1,x"}, "'x' is neither a number nor a range"),
        (
            {"method": "graddot", "keep": 0.3, "queries": "4-9"},
            "has the queries 0 to 8, and '4-9' names others",
        ),
    ],
)
def test_what_cannot_be_selected_is_named(finished, tmp_path, options, said):
    root, _ = finished
    with pytest.raises(UserError, match=said):
        selected(root, tmp_path, **options)
    assert not (tmp_path / "kept.csv").exists()


def test_without_retrainings_the_command_that_makes_them_is_printed(finished, tmp_path):
    root, _ = finished
    path = root / "results/masked/metrics/graddot.json"
    kept = path.read_bytes()
    try:
        path.write_text(json.dumps({"metrics": {}}))
        _, printed = selected(root, tmp_path, method="graddot", keep=0.3)
    finally:
        path.write_bytes(kept)
    assert "snakemake --config 'settings=[masked]'" in printed
    assert "'metrics=[lds,coreset]'" in printed
