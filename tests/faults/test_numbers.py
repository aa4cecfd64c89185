"""Numbers say what they are, or are refused: rows of shared/faults.md about the values of methods."""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import proponent.methods
from methods.fakes import Checkpoints, mlp_world
from methods.hard_cases import CASES, needs_of, scores_of
from methods.test_every_method import PER_MEMBER
from proponent.attribution.member_mean import MemberMean
from proponent.attribution.self_influence_params import self_influence_params
from proponent.attribution.stored_values import clear_unresolved_rows
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.member_features import read_gradients
from proponent.features.views import CheckpointTimes, History
from proponent.inspection.provenance import provenance_lines
from proponent.methods.gradient_similarity import tracin, tracin_we
from proponent.methods.influence import if_arnoldi, if_cg, if_exact, if_lissa
from proponent.methods.learned import datamodels_prior
from proponent.methods.projected_influence import logra, trackstar
from proponent.methods.shared.resolution import SMALLEST_SQUARE
from proponent.methods.shared.solvers.sinkhorn import transport_potentials
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.methods.valuation import lava, shapley
from proponent.notes import Note, noted
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification
from proponent.steps.evaluate import constant_notes
from proponent.store.manifest import Manifest, write_manifest
from proponent.training.checkpoint_steps import checkpoint_steps

# until_drops_a_checkpoint


@pytest.mark.parametrize("total", [3550, 1001, 37, 9])
def test_until_drops_a_checkpoint_of_no_training(total: int) -> None:
    """Whatever the rounding of the saved steps: the checkpoint that ``checkpoint`` stands for is the last that counts."""
    steps = [*checkpoint_steps(total, 3), total]
    times = CheckpointTimes(steps, [0.1] * len(steps), [0.1 * step for step in steps])
    pair = mlp_world(n=6, steps=0).pair()
    taken: list[int] = []

    def load(index: int) -> object:
        taken.append(index)
        return pair

    for fraction in (0.125, 0.25, 0.5, 1.0):
        path: History[object] = History(0, times, load)
        taken.clear()
        tracin.attribute(path, until=fraction)
        assert taken[-1] == times.nearest(fraction), fraction
        assert abs(steps[taken[-1]] - fraction * total) <= 0.5
        taken.clear()
        path = History(0, times, load)
        tracin.self_influence(path, layers="all", steps="path", until=fraction)
        assert taken[-1] == times.nearest(fraction)
    embedded = SimpleNamespace(embeddings=lambda: pair.train)
    model = SimpleNamespace(query=embedded, train=embedded, loss_weight=torch.ones(()), n_train=1)

    def load_model(index: int) -> object:
        taken.append(index)
        return model

    taken.clear()
    tracin_we.attribute(History(0, times, load_model), until=0.25)
    assert taken[-1] == times.nearest(0.25)


@pytest.mark.parametrize("module", [trak, datamodels_prior])
def test_until_drops_a_checkpoint_growing_damps_by_the_fraction_that_is_used(module) -> None:
    """``growing`` multiplies by the fraction of the saved checkpoint, not by the one that was asked for."""
    pair = mlp_world(steps=0).pair()
    path = Checkpoints({444 / 3550: pair, 1.0: pair})
    asked, _ = module.attribute(path, Workspace(), damping=3.0, growing=True, checkpoint=0.1)
    exact, _ = module.attribute(path, Workspace(), damping=3.0 * 444 / 3550, checkpoint=0.1)
    torch.testing.assert_close(asked, exact)
    if module is trak:
        params = {"weighting": "none", "projection_dim": 0, "projection": "sparse", "seed": 0}
        asked, exact = (
            module.self_influence(path, Workspace(), damping=d, growing=g, checkpoint=0.1, **params)[0]
            for d, g in ((3.0, True), (3.0 * 444 / 3550, False))
        )
        torch.testing.assert_close(asked, exact)


def test_until_drops_a_checkpoint_that_is_not_saved_with_a_note() -> None:
    times = CheckpointTimes([444, 1775, 3550], [0.1] * 3, [44.4, 177.5, 355.0])
    path: History[object] = History(0, times, lambda index: index)
    with noted() as notes:
        assert [path.at(fraction) for fraction in (0.125, 0.5, 1.0)] == [0, 1, 2]
    assert notes == []
    with noted() as notes:
        assert path.at(0.03) == 0
    assert notes == ["checkpoint 0.03 of training is not saved: the nearest one is at 0.125"]


# projection_replaces_exact


def projected(dim: int, rows: int = 4) -> DenseGradients:
    return DenseGradients(torch.randn(rows, dim), {f"sparse-{dim}-7": (dim,)}, ())


def test_projection_replaces_exact_is_noted_by_the_reader_of_the_features() -> None:
    times = CheckpointTimes([1], [0.1], [0.1])
    data = Arrays(*(torch.zeros(1) for _ in range(4)))
    for last, apart in (({"names": []}, False), ({"kind": "factored"}, True)):
        description = {"choice": "projected", "dim": 512, "layout": {"last": last}}
        with noted() as notes:
            read_gradients(description, lambda _: torch.zeros(1), data, 0, times)
        assert len(notes) == 1
        assert notes[0].startswith("gradients are projected to 512 dimensions")
        assert ("except those of the last layer" in notes[0]) == apart
    with noted() as notes:
        read_gradients({"choice": "factored", "layout": {}}, lambda _: torch.zeros(1), data, 0, times)
    assert notes == []


def test_projection_replaces_exact_more_dimensions_than_stored_are_refused() -> None:
    block = projected(64)
    with pytest.raises(UserError, match=r"to 128 dimensions .* projected to 64: raise compute.memory_mib"):
        block.project(128, "sparse", 0)
    assert block.project(64, "sparse", 0).n_parameters == 64
    written = DenseGradients(torch.randn(4, 10), {"weight": (10,)}, ())
    assert written.project(16, "gaussian", 0).n_parameters == 16, "only a projection has lost dimensions"


# constant_scores


def test_constant_scores_are_noted() -> None:
    scores = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 2.0]], dtype=np.float32)
    with noted() as notes:
        assert (clear_unresolved_rows(scores) == scores).all()
    assert notes == [
        "all scores of 1 of 3 queries are 0",
        "1 of 3 queries have the same score for every example",
    ]


def test_constant_scores_include_those_that_float32_does_not_resolve() -> None:
    scores = np.array([[1e-36, 3e-38], [1e-20, 1e-36]], dtype=np.float32)
    with noted() as notes:
        found = clear_unresolved_rows(scores)
    assert found.tolist()[0] == [0.0, 0.0]
    assert (found[1] == scores[1]).all(), "small next to a resolved score is fine"
    assert [note.partition(" of ")[0] for note in notes] == ["scores", "all scores"]


def test_constant_scores_count_as_zero_in_the_evaluation_and_the_row_says_so() -> None:
    metrics = {
        "lds": {"n_constant": 12, "n_constant_targets": 0, "n_queries": 500},
        "loo": {"n_constant": 0, "n_constant_targets": 3, "n_queries": 500},
        "mislabel_auc": {"value": 0.5},
    }
    assert constant_notes(metrics) == [
        "lds: 12 of 500 queries have constant predictions and count as 0",
        "loo: 3 of 500 queries have constant targets and count as 0",
    ]


# every method on members where careless formulas divide by rounding errors

MODULES = {
    path.stem: importlib.import_module(f"proponent.methods.{path.parent.name}.{path.stem}")
    for path in Path(proponent.methods.__file__).parent.glob("*/*.py")
    if path.parent.name != "shared"
}
CONFIGS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__, "../../../configs/methods").resolve().glob("*.yaml"))
}
SAME_CODE = {"banzhaf", "beta-shapley", "datamodels-prior-20-path", "kfac", "source-fast", "trak-20-path"}
METHODS = [
    name
    for name, config in CONFIGS.items()
    if getattr(MODULES[config["family"]], "INPUTS", "") != "tokens" and name not in SAME_CODE
]
SMALL = {
    "airrep": {"steps": 1},
    "data_oob": {"trees": 3},
    "if_arnoldi": {"iterations": 12, "rank": 6},
    "if_lissa": {"depth": 5, "batch": 100},
    "trak_variants": {"variants": 2, "epochs": 1},
}
WITHOUT_MODEL = ["plain", "constant targets", "few examples"]
CASES_OF = {
    "if-lissa": ["plain", "no gradient", "constant targets"],  # takes a second for each
    # derivatives of training as it is computed, in which the gradient p - 1 of a saturated loss is 0
    **{name: [case for case in CASES if case != "saturated"] for name in ("dvemb", "magic")},
}
IN_LOGITS = {MODULES["aum"]}
"""Methods whose values are differences of logits, which one case makes 1e20: float32 has the digits of float64 there."""
DAMPED = [
    name
    for name in METHODS
    if "damping" in inspect.signature(MODULES[CONFIGS[name]["family"]].attribute).parameters
]
NOT_REFUSED = {"if-arnoldi", "if-lissa", "trak-lora"}
"""Methods that need no damping, within the leading eigenvectors and for a series that is cut off; and one whose adapters
are trained, so that float32 and float64 have different ones."""


def method(name: str) -> tuple[ModuleType, dict[str, object]]:
    config = CONFIGS[name]
    params = {**config.get("params", {}), **SMALL.get(config["family"], {})}
    if "projection_dim" in params:
        params["projection_dim"] = 16
    return MODULES[config["family"]], params


def check_agreement(
    module: ModuleType, params: dict[str, object], case: str, tolerance: float = 0.02
) -> bool:
    """Compare scores in float32 with those in float64; return whether there are any, instead of a refusal."""
    single, double = (scores_of(module, params, case, dtype) for dtype in (torch.float32, torch.float64))
    if isinstance(single, UserError):
        assert re.search(r": use|: give|, or|; lower|NaN or infinite", str(single)), (
            f"{case}: no way out in {single}"
        )
        return False
    assert not isinstance(double, UserError), f"{case}: only float64 refuses: {double}"
    largest = double.abs().max()
    assert largest < 1e10 or module in IN_LOGITS, case
    if largest > SMALLEST_SQUARE:  # smaller ones are stored as 0
        assert (single - double).abs().max() <= tolerance * largest, case
    return True


@pytest.mark.parametrize("name", METHODS)
def test_no_score_consists_of_rounding_errors(name: str) -> None:
    """float32 gives the scores of float64, or the method refuses with a reason and a way out."""
    module, params = method(name)
    needs = set(inspect.signature(module.attribute).parameters)
    cases = CASES_OF.get(name, CASES) if needs & {*PER_MEMBER, "replay"} else WITHOUT_MODEL
    scored = [case for case in cases if check_agreement(module, params, case)]
    assert {"plain", "constant targets"} <= set(scored)


@pytest.mark.parametrize("name", [name for name in DAMPED if name not in NOT_REFUSED])
def test_damping_zero_is_refused_with_a_damping_that_works(name: str) -> None:
    module, params = method(name)
    for case in ("plain", "dead units", "duplicates", "few examples"):
        for damping in (0.0, 1e-12):
            found = scores_of(module, {**params, "damping": damping}, case, torch.float32)
            if not isinstance(found, UserError):  # enough examples and no directions without curvature
                check_agreement(module, {**params, "damping": damping}, case, 0.1)
                continue
            named = re.search(r"damping (\S+) leaves .* use a damping of at least (\S+)$", str(found))
            if named is None:
                assert "is zero up to rounding" in str(found)
                continue
            assert float(named[1]) == damping
            assert check_agreement(module, {**params, "damping": float(named[2])}, case, 0.1), named[0]
    assert isinstance(scores_of(module, {**params, "damping": 0.0}, "duplicates", torch.float32), UserError)


def test_damping_zero_of_a_series_that_does_not_converge_is_noted() -> None:
    module, params = method("if-lissa")
    with noted() as notes:
        scores_of(module, {**params, "damping": 0.0}, "plain", torch.float32)
    assert notes[-1].startswith("the series has not converged: the median residual is")


@pytest.mark.parametrize("name", [name for name in METHODS if hasattr(method(name)[0], "self_influence")])
def test_no_self_influence_consists_of_rounding_errors(name: str) -> None:
    module, params = method(name)
    constants = getattr(module, "SELF_INFLUENCE", {})
    params = self_influence_params(module.attribute, module.self_influence, params, constants)
    for case in CASES:
        single, double = (
            scores_of(module, params, case, dtype, "self_influence")
            for dtype in (torch.float32, torch.float64)
        )
        if not isinstance(single, UserError):
            assert not isinstance(double, UserError), case
            largest = double.abs().max()
            assert largest < 1e10 or module in IN_LOGITS, case
            if largest > SMALLEST_SQUARE:
                assert (single - double).abs().max() <= 0.02 * largest, case


# rows about single methods


def dead(case: str = "no gradient") -> dict[str, object]:
    return {name: needs_of(case, torch.float32)[name] for name in ("network", "gradients")}


def test_trak_on_zero_gradients_names_them() -> None:
    with pytest.raises(UserError, match=r"gradient of every training example is zero .* earlier checkpoint"):
        trak.attribute(dead()["gradients"], Workspace(), damping=1.0)


def test_lissa_zero_division_is_a_sum_of_curvature_and_damping_that_is_zero() -> None:
    with pytest.raises(UserError, match=r"the sum of curvature and damping is zero .* earlier checkpoint"):
        if_lissa.attribute(dead()["network"], Workspace(), damping=0.0, depth=20)
    found = if_lissa.attribute(dead()["network"], Workspace(), damping=1.0, depth=20)
    assert (found == 0).all(), "with a damping the scores are defined"


@pytest.mark.parametrize("module", [if_lissa, if_cg, if_arnoldi, if_exact])
def test_lissa_zero_division_includes_a_checkpoint_before_training(module) -> None:
    needs = needs_of("plain", torch.float32)
    curvature = copy.copy(needs["network"].at(1.0))
    curvature.duration = 0.0
    with pytest.raises(UserError, match="learning rates up to this checkpoint add up to 0: use a later"):
        module.attribute(Checkpoints({1.0: curvature}), Workspace())


@pytest.mark.parametrize("seed", range(3))
def test_logra_eigh_of_dead_units(seed: int) -> None:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    x, y = torch.randn(64, 6), torch.arange(64) % 3
    with torch.no_grad():
        module[0].bias[:10] = -100.0
    model = Curvature(
        module, Classification(), x[:60], y[:60], x[60:], y[60:], weight_decay=0.0, duration=1.0
    )
    path = Checkpoints({1.0: model})
    for scores in (logra.attribute(path, Workspace()), trackstar.attribute(path, Workspace())):
        assert scores.isfinite().all()


@pytest.mark.parametrize("share", [0.02, 0.01])
def test_lava_on_its_defaults_converges_where_a_class_is_rare(share: float) -> None:
    """Mass must cross a gap that is wide next to the entropy, where Sinkhorn's iteration hardly moves."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(1000, generator=generator) < share).long()
    x = torch.stack([30.0 * y, 0.0 * y], 1) + 0.1 * torch.randn(1000, 2, generator=generator)
    pair = SimpleNamespace(train=x[:800], query=x[800:])
    data = SimpleNamespace(y_train=y[:800], y_query=y[800:])
    values = lava.attribute(data, Checkpoints({1.0: pair}))[0]
    rare, common = values[y[:800] == 1], values[y[:800] == 0]
    scarce_in_training = y[:800].double().mean() < y[800:].double().mean()
    assert values.isfinite().all()
    assert (rare.mean() > common.mean()) == scarce_in_training, (
        "mass on a class that is too rare lowers the distance"
    )


def test_lava_newton_finds_the_potentials_of_sinkhorn() -> None:
    cost = torch.rand(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = transport_potentials(cost, 0.02, 100_000, 1e-10)
    found = transport_potentials(cost, 0.02, 1, 1e-10)
    torch.testing.assert_close(found - found.mean(), exact - exact.mean(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [20, 57, 90, 94, 100])
@pytest.mark.parametrize("fraction", [0.1, 0.06])
def test_shapley_stops_at_once_for_no_number_of_examples(n: int, fraction: float) -> None:
    """The first look, after a hundred orders, compares with nothing: values must have been compared once to stop."""
    generator = torch.Generator().manual_seed(n)
    places = torch.rand(200, n, generator=generator).argsort(1).argsort(1)
    sizes = torch.tensor([round(fraction * n), *(n * step // 6 for step in range(1, 7))]).unique()
    masks = places[:, None] < sizes[:, None]
    noise = torch.randn(200, len(sizes), 3, generator=generator)
    targets = 0.1 * masks.float() @ torch.randn(n, 3, generator=generator) + noise
    targets[:, -1] = targets[:, -1].mean(0)
    orders = SimpleNamespace(masks=masks, targets=targets)
    half = SimpleNamespace(masks=masks[:100], targets=targets[:100])
    everything = shapley.permutation_values(orders, convergence=0.0, truncation=0.0)
    early = shapley.permutation_values(half, convergence=0.0, truncation=0.0)
    assert (everything - early).abs().sum() > 0.05 * everything.abs().sum(), (
        "the second hundred moves the values"
    )
    torch.testing.assert_close(shapley.permutation_values(orders, truncation=0.0), everything)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("if-lissa", "trak-lora")])
def test_shapley_stops_at_once_no_method_changes_tensors_that_it_is_given(name: str) -> None:
    module, params = method(name)
    first, second = (scores_of(module, params, "plain", torch.float32) for _ in range(2))
    assert torch.equal(first, second)


def test_constant_scores_have_a_note_on_saturated_weights() -> None:
    times = CheckpointTimes([25, 50], [0.1, 0.1], [2.5, 5.0])
    description = {"choice": "factored", "layout": {"kind": "dense", "parameters": {}, "last": {"names": []}}}
    saturated = torch.tensor([0.5, 1e-13, 0.0])
    stored = {
        "loss_weight": saturated,
        "loss_curvature": saturated * (1 - saturated),
        "values": torch.zeros(3, 0),
    }
    data = Arrays(*(torch.zeros(3) for _ in range(4)))
    with noted() as notes:
        path = read_gradients(description, lambda name: stored[name.rpartition(".")[2]], data, 0, times)
        path.at(0.5)
    assert notes == ["the loss weights 1 - p of 2 of 3 training examples are below 1e-12 at checkpoint 0.5"]


def test_constant_scores_of_a_member_are_not_divided_by_their_spread() -> None:
    mean = MemberMean(normalised=True)
    mean.add(torch.tensor([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]]) / 3)
    assert mean.scores()[0].tolist() == [0.0, 0.0, 0.0]
    assert mean.scores()[1].std() == pytest.approx(1.0)


# notes


def test_notes_are_printed_by_provenance_in_full(tmp_path: Path) -> None:
    notes = [
        "gradients are projected to 512 dimensions: " + "exact ones exceed compute.memory_mib " * 5,
        "second",
    ]
    artefact = "results/toy/scores/trak.safetensors"
    record = Manifest(
        artefact, "key", "digest", 1, step="attribute", details={"notes": notes, "tuning_seconds": 1.0}
    )
    (tmp_path / artefact).parent.mkdir(parents=True)
    write_manifest(tmp_path, record)
    lines = provenance_lines(SimpleNamespace(nodes={}, root=tmp_path), artefact)
    assert lines[lines.index("notes") + 1 :][:2] == [f"  {note}" for note in notes]
    assert "  tuning_seconds: 1.0" in lines


def test_notes_of_several_members_are_collected_once(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with noted() as notes:
            for residual in (0.1, 2e-3):
                warnings.warn(f"residual {residual} after 10 iterations", Note, stacklevel=1)
            warnings.warn("something else", stacklevel=1)
            warnings.warn("12 of 500 queries", Note, stacklevel=1)
    assert notes == ["residual 0.1 after 10 iterations", "12 of 500 queries"]
    assert [str(warning.message) for warning in shown] == ["something else"]
    assert capsys.readouterr().err.splitlines() == [f"note: {note}" for note in notes]
