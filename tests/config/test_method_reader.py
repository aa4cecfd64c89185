"""What is read from a method's module when a run is planned, and the mistakes that are refused then."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.benchmark import load_benchmark
from proponent.config.configured_method import Method
from proponent.config.specifications.need_loaders import LOADERS, uses_models, vocabulary
from proponent.errors import UserError
from proponent.methods.shared.needs import NEEDS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "configs/methods").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("settings: []\nmethods: [mine]\nmetrics: []\n")
    return tmp_path


def read(root: Path, source: str, config: str = "") -> Method:
    (root / "mine.py").write_text(source)
    (root / "configs/methods/mine.yaml").write_text(f"family: mine:attribute\n{config}")
    return load_benchmark(root).methods["mine"]


def refused(root: Path, source: str, config: str = "") -> str:
    with pytest.raises(UserError) as caught:
        read(root, source, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_vocabulary_of_needs_is_that_of_the_methods() -> None:
    assert vocabulary() == NEEDS
    assert set(LOADERS) == set(NEEDS) - {"data", "workspace"}


@pytest.mark.parametrize(
    ("need", "expected"), [("gradients", True), ("replay", True), ("retrainings", False)]
)
def test_only_needs_that_differ_between_members_use_models(need, expected) -> None:
    assert uses_models(["data", "workspace", "scores", need]) is expected


def test_an_unknown_need_names_the_nearest(root) -> None:
    assert "mine.py:attribute: unknown need 'gradient'; did you mean 'gradients'?" in refused(
        root, "def attribute(gradient): ...\n"
    )


def test_a_method_computes_with_torch_unless_its_module_says_numpy(root) -> None:
    assert read(root, "def attribute(data): ...\n").arrays == "torch"
    assert read(root, "ARRAYS = 'numpy'\ndef attribute(data): ...\n").arrays == "numpy"
    assert read(root, "ARRAYS: str = 'numpy'\ndef attribute(data): ...\n").arrays == "numpy"


def test_another_library_or_a_need_that_is_not_an_array_is_refused(root) -> None:
    assert "ARRAYS must be 'torch' or 'numpy', not 'jax'" in refused(
        root, "ARRAYS = 'jax'\ndef attribute(data): ...\n"
    )
    assert "ARRAYS is 'numpy', but 'gradients' is available for torch only" in refused(
        root, "ARRAYS = 'numpy'\ndef attribute(data, gradients): ...\n"
    )


ATTRIBUTE = "def attribute(gradients, *, damping: float = 1.0, rank: int = 5): ...\n"


def test_self_influence_may_name_hyper_parameters_without_repeating_their_defaults(root) -> None:
    source = f"SELF_INFLUENCE = {{'damping': 0.01}}\n{ATTRIBUTE}def self_influence(gradients, *, damping: float): ...\n"
    assert read(root, source).self_influence


def test_a_constant_that_self_influence_does_not_use_is_refused(root) -> None:
    source = f"SELF_INFLUENCE = {{'dampng': 0.01}}\n{ATTRIBUTE}def self_influence(gradients, *, damping: float): ...\n"
    assert "unknown key 'SELF_INFLUENCE.dampng'; did you mean 'damping'?" in refused(root, source)


def test_a_hyper_parameter_of_self_influence_without_any_value_is_refused(root) -> None:
    source = f"{ATTRIBUTE}def self_influence(gradients, *, scale: float): ...\n"
    assert "configs/methods/mine.yaml: self_influence needs a value of 'scale'" in refused(root, source)


def test_group_predictions_are_not_averaged(root) -> None:
    source = f"{ATTRIBUTE}def group_scores(stored, masks): ...\n"
    assert "group predictions of" in refused(root, source, "members: 2\n")
    assert read(root, source).groups


def test_a_module_outside_the_checkout_is_refused(root) -> None:
    (root / "configs/methods/mine.yaml").write_text("family: numpy.linalg:norm\n")
    with pytest.raises(
        UserError, match=r"'numpy\.linalg' is outside the checkout, where changes would go unnoticed"
    ):
        load_benchmark(root)
