"""Source digests: the code of a module and its imports, not its formatting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from proponent.config.digests.definition_graph import Kind
from proponent.config.digests.plumbing import PLUMBING
from proponent.config.digests.source_digest import SourceTree
from proponent.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/__init__.py").write_text("")
    (tmp_path / "lab/step.py").write_text(
        '"""Doc."""\nfrom lab.helper import double\nimport numpy\n\ndef f(x):\n    return double(x)\n'
    )
    (tmp_path / "lab/helper.py").write_text("def double(x):\n    return 2 * x\n")
    return tmp_path


def digest(root: Path):
    return SourceTree((root,)).digest(["lab.step"])


def test_comments_docstrings_and_formatting_change_nothing(checkout: Path):
    before = digest(checkout)
    (checkout / "lab/step.py").write_text(
        '"""Another."""\n# why\nfrom lab.helper import double\nimport numpy\n\n\n'
        'def f( x ):\n    """Say."""\n    return (double(x))\n'
    )
    assert digest(checkout) == before


def test_an_imported_module_is_seen(checkout: Path):
    before = digest(checkout)
    (checkout / "lab/helper.py").write_text("def double(x):\n    return 3 * x\n")
    after = digest(checkout)
    assert after[0]["lab.step"] == before[0]["lab.step"]
    assert after[0]["lab.helper"] != before[0]["lab.helper"]


def test_third_party_packages_are_known_by_version(checkout: Path):
    _, versions = digest(checkout)
    assert set(versions) == {"python", "numpy"}


def test_imports_for_type_checkers_do_not_count(checkout: Path):
    path = checkout / "lab/step.py"
    path.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lab.helper\n")
    assert set(digest(checkout)[0]) == {"lab.step"}


def test_relative_imports_are_followed(checkout: Path):
    (checkout / "lab/step.py").write_text("from . import helper\nfrom .helper import double\n")
    assert set(digest(checkout)[0]) == {"lab.step", "lab.helper"}


def test_an_unknown_module_and_broken_python_are_one_line(checkout: Path):
    with pytest.raises(UserError, match=r"no module 'lab\.nothing_here_of_that_name'"):
        SourceTree((checkout,)).digest(["lab.nothing_here_of_that_name"])
    (checkout / "lab/step.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r"step\.py:1: not valid Python"):
        digest(checkout)


def test_plumbing_is_a_list_of_things_that_exist():
    tree = SourceTree((ROOT / "src",))
    assert all(tree.find(module) for module in PLUMBING)


def test_no_plumbing_is_in_the_digest_of_a_step_and_numbers_are():
    sources, _ = SourceTree((ROOT / "src",)).digest(["proponent.steps.train"])
    assert not [
        name for name in sources if name.startswith(("proponent.store", "proponent.cli", "proponent.config"))
    ]
    assert "proponent.progress" not in sources
    assert {"proponent.steps.train", "proponent.training.lockstep", "proponent.seeds"} <= set(sources)


def test_one_method_does_not_depend_on_another():
    tree = SourceTree((ROOT / "src",))
    sources, _ = tree.digest(["proponent.steps.attribute", "proponent.methods.gradient_similarity.graddot"])
    assert "proponent.methods.gradient_similarity.graddot" in sources
    assert "proponent.methods.trak.trak" not in sources


def test_no_method_is_in_a_digest_as_a_whole():
    """A look into ``sys.modules`` would take the unused definitions of all imported methods as well."""
    loaders = ("stored_features:read", "member_replay:read", "setting_inputs:load_data")
    roots = ["proponent.steps.attribute:run", *(f"proponent.steps.io.{name}" for name in loaders)]
    for method in ("gradient_similarity.graddot", "influence.ekfac", "unrolling.magic"):
        reached = SourceTree((ROOT / "src",)).definitions.closure(
            [*roots, f"proponent.methods.{method}:attribute"]
        )
        assert not [
            node
            for node in reached
            if node.kind is Kind.whole and node.module.startswith("proponent.methods.")
        ]


def test_data_depend_on_the_program_that_speaks_and_not_on_downloads():
    """A program that runs in a process of its own is imported for its path alone."""
    datasets = "proponent.settings.datasets"
    sources, _ = SourceTree((ROOT / "src",)).digest([f"{datasets}.spoken_intents:spoken_intents"])
    assert {f"{datasets}.espeak_worker", "proponent.settings.log_mel"} <= set(sources)
    assert not {"proponent.settings.fetched_files", "proponent.settings.sources.registries"} & set(sources)


def test_plumbing_defines_no_numerical_function():
    """Plumbing imports neither numpy nor scipy, and torch only to name a type or to pass tensors to safetensors.

    ``store/arrays.py`` and ``store/sharded_arrays.py`` make arrays contiguous and join files before they pass them on,
    ``store/trained_states.py`` reads files of ``torch.save``, ``steps/io/device.py`` asks torch for GPUs,
    ``transformers_compat.py`` asks it for the types of tensors, and ``torch_imports.py`` keeps it from
    importing its compiler.
    """
    allowed = {
        ROOT / "src/proponent/store/arrays.py": {"numpy"},
        ROOT / "src/proponent/store/sharded_arrays.py": {"numpy"},
        ROOT / "src/proponent/steps/io/device.py": {"torch"},
        ROOT / "src/proponent/store/trained_states.py": {"torch"},
        ROOT / "src/proponent/torch_imports.py": {"torch"},
        ROOT / "src/proponent/transformers_compat.py": {"torch"},
    }
    tree = SourceTree((ROOT / "src",))
    for module in PLUMBING:
        path = tree.find(module)
        files = path.parent.glob("*.py") if path.name == "__init__.py" and "." in module else [path]
        for file in files:
            imported = {
                alias.name
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            assert not imported & {"numpy", "scipy", "torch"} - allowed.get(file, set()), file
