"""What a function asks for is read from its source, without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proponent.config.digests.source_digest import SourceTree
from proponent.config.signature import read_signature
from proponent.errors import UserError

SOURCE = """
import torch_that_is_not_installed
TASKS = ("classification",)
def attribute(gradients, data, *, damping: float = 1.0, kind: Literal["a", "b"] = "a", grid: list[float] | None = None): ...
def self_influence(gradients, *, damping: float = 1.0): ...
class Net:
    def __init__(self, width: int = 3): ...
"""


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    (tmp_path / "mine.py").write_text(SOURCE)
    return SourceTree((tmp_path,))


def test_needs_are_positional_and_hyper_parameters_keywords(tree):
    signature = read_signature(tree, "mine", "attribute", "x.yaml")
    assert signature.positional == ("gradients", "data")
    assert signature.defaults == {"damping": 1.0, "kind": "a", "grid": None}
    assert signature.constants["TASKS"] == ("classification",)
    assert "self_influence" in signature.functions


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dampng": 1.0}, "unknown key 'params.dampng'; did you mean 'damping'?"),
        ({"damping": "high"}, "'params.damping' must be float, not 'high'"),
        ({"kind": "c"}, "'params.kind' must be one of a, b, not 'c'"),
    ],
)
def test_arguments_are_checked_against_the_signature(tree, arguments, said):
    with pytest.raises(UserError) as caught:
        read_signature(tree, "mine", "attribute", "x.yaml").check_arguments(arguments, "x.yaml", "params.")
    assert said in str(caught.value)


def test_a_class_is_known_by_its_constructor(tree):
    assert read_signature(tree, "mine", "Net", "x.yaml").keywords == {"width": int}


def test_an_unknown_function_names_the_nearest(tree):
    with pytest.raises(UserError, match="no function 'atribute'; did you mean 'attribute'"):
        read_signature(tree, "mine", "atribute", "x.yaml")


def test_installed_packages_are_not_looked_into(tree):
    assert read_signature(tree, "torch.nn", "Linear", "x.yaml") is None


def test_a_function_that_a_package_imports_from_its_module_is_read_there(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("from package.inner import attribute as scored, missing\n")
    (tmp_path / "package/inner.py").write_text(SOURCE)
    tree = SourceTree((tmp_path,))
    assert read_signature(tree, "package", "scored", "x.yaml").positional == ("gradients", "data")
    assert read_signature(tree, "package", "missing", "x.yaml") is None
