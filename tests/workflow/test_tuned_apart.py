"""Hyper-parameters are chosen on queries and masks that the reported figure does not use."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from proponent.config.benchmark import load_benchmark
from proponent.config.design_schema import n_rows
from proponent.config.setting_schema import SettingConfig
from proponent.errors import UserError
from proponent.metrics.lds import predict
from proponent.metrics.ranks import resampled_spearman
from proponent.plan.run_plan import Plan
from proponent.training.designs import run_at
from workflow.checkout import Checkout, make_checkout

LEFT_FOR_TUNING = ", tune: {count: 20}"


@pytest.fixture
def laid_out(tmp_path) -> Checkout:
    return make_checkout(tmp_path / "checkout")


def setting_of(checkout: Checkout) -> SettingConfig:
    return load_benchmark(checkout.root).settings["toy"]


def test_a_setting_that_evaluates_has_masks_to_tune_on_which_keep_as_much(laid_out) -> None:
    laid_out.edit("configs/settings/toy.yaml", LEFT_FOR_TUNING, "")
    laid_out.edit("configs/settings/toy.yaml", "fraction: 0.5", "fraction: 0.8")
    tuning = setting_of(laid_out).designs["tune"]
    assert (tuning.count, tuning.seeds, tuning.fraction) == (50, 1, 0.8)


def test_a_setting_may_say_how_many_there_are(laid_out) -> None:
    assert setting_of(laid_out).designs["tune"].count == 20


def test_no_mask_and_no_seed_that_tunes_is_used_for_anything_else(laid_out) -> None:
    laid_out.edit(
        "configs/settings/toy.yaml",
        LEFT_FOR_TUNING,
        ", tune: {count: 200}, fit: {count: 200}, complements: {count: 100}",
    )
    designs = setting_of(laid_out).designs
    drawn = {
        name: [run_at(design, name, 60, 0, index) for index in range(n_rows(design) * design.seeds)]
        for name, design in designs.items()
    }
    for name in set(drawn) - {"tune"}:
        for kind in ("init_seed", "order_seed"):
            assert not {getattr(run, kind) for run in drawn["tune"]} & {
                getattr(run, kind) for run in drawn[name]
            }
        masks = {tuple(run.mask.tolist()) for run in drawn[name]}
        assert not {tuple(run.mask.tolist()) for run in drawn["tune"]} & masks, name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["trak", "graddot", "datamodels", "similarity-cosine"])
def test_scores_do_not_depend_on_what_evaluates_them(laid_out, method) -> None:
    """No retraining of ``subsets`` or ``loo`` is behind any tuned method's scores, directly or through others."""
    laid_out.edit("configs/settings/toy.yaml", LEFT_FOR_TUNING, ", tune: {count: 20}, fit: {count: 20}")
    plan = Plan(load_benchmark(laid_out.root, {"methods": [method]}))
    pending, behind = [f"results/toy/scores/{method}.safetensors"], set()
    while pending:
        path = pending.pop()
        behind.add(path)
        pending += [found for found in plan.inputs(path) if found not in behind]
    assert "results/toy/ground_truth/tune.safetensors" in behind
    assert not [path for path in behind if "/subsets" in path or "/loo" in path]


@pytest.mark.slow
def test_a_setting_without_ground_truth_takes_hyper_parameters_as_they_are(laid_out) -> None:
    content = yaml.safe_load((laid_out.root / "configs/settings/toy.yaml").read_text())
    del content["designs"]["subsets"], content["designs"]["tune"]
    (laid_out.root / "configs/settings/toy.yaml").write_text(yaml.safe_dump(content))
    plan = Plan(load_benchmark(laid_out.root, {"methods": ["trak"], "metrics": ["loo"]}))
    assert plan.graph.nodes["results/toy/scores/trak.safetensors"].content["candidates"] == [{}]


def test_masks_to_tune_on_are_subsets(laid_out) -> None:
    laid_out.edit("configs/settings/toy.yaml", "tune: {count: 20}", "tune: {kind: loo, count: 20}")
    with pytest.raises(UserError, match=r"toy\.yaml: designs: tune must be of kind subsets, not loo"):
        setting_of(laid_out)


@pytest.mark.slow
def test_what_is_written_of_a_candidate_is_its_lds_on_tune_queries_and_tune_masks(checkout) -> None:
    """The chosen candidate's scores on disk, judged by hand."""
    record = json.loads((checkout.root / "results/toy/tuning/trak.json").read_text())
    spent = json.loads((checkout.root / "results/toy/metrics/trak.json").read_text())["cost"]
    assert spent["tuning_retraining_seconds"] > 0
    assert not [path for path in spent["ledger"] if "/tune" in path], "said, and not charged"
    budget = yaml.safe_load((checkout.root / "configs/methods/trak.yaml").read_text())["tune"]["budget"]
    assert len(record["candidates"]) == budget
    (chosen,) = [entry for entry in record["candidates"] if entry["params"] == record["chosen"]]
    assert chosen["lds"] == max(entry["lds"] for entry in record["candidates"])
    scores = load_file(checkout.root / "results/toy/scores/trak.safetensors")["scores"][:4]
    truth = load_file(checkout.root / "results/toy/ground_truth/tune.safetensors")
    predicted = predict(scores.numpy(), truth["masks"].numpy())
    actual = truth["targets"][:, :, :4].double().mean(1).numpy()
    by_hand = resampled_spearman(predicted, actual, torch.ones(20, 1).numpy()).mean()
    assert chosen["lds"] == pytest.approx(float(by_hand), abs=1e-5)
