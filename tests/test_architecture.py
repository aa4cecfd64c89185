"""Imports flow one way."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/proponent"
FREE = {
    "batch_statistics",
    "callable_modules",
    "checkout_location",
    "chunking",
    "errors",
    "extras",
    "file_locks",
    "formatting",
    "machine_limits",
    "memory_budget",
    "notes",
    "progress",
    "random_state",
    "rows",
    "seeds",
    "sharded_tensor",
    "slurm",
    "torch_compat",
    "torch_failures",
    "torch_imports",
    "torch_rewrites",
    "transformers_compat",
}
MAY_IMPORT = {
    "config": set(),
    "methods": set(),
    "metrics": set(),
    "explanations": set(),
    "publish": set(),
    "settings": {"config"},
    "store": {"config"},
    "training": {"config", "settings"},
    "features": {"config", "settings"},
    "self_check": {"config", "settings", "training", "features"},
    "plan": {"config", "store"},
    "inspection": {"config", "store", "plan"},
    "fork_server": {"cli", "config", "plan", "steps"},  # a fork runs the command line
    "attribution": {"config", "methods", "metrics"},
    "trained": {"config", "settings", "store", "features", "methods", "explanations"},
    "commands": {"config", "publish", "store", "plan", "inspection", "steps", "cleaning", "cleaning_files"},
    "steps": {
        "config",
        "methods",
        "metrics",
        "attribution",
        "publish",
        "settings",
        "store",
        "training",
        "features",
        "self_check",
        # the step `explain_gallery` reads finished results as proponent.open does
        "explained_models",
        "explainer",
        "explanations",
        "finished_results",
        "pair_explainer",
        "trained",
    },
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_flow_one_way(package):
    allowed = MAY_IMPORT[package] | {package} | FREE
    for path in (PACKAGE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in getattr(node, "names", [])]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                if name and name.startswith("proponent."):
                    assert name.split(".")[1] in allowed, f"{path.relative_to(PACKAGE)} imports {name}"


def test_one_module_calls_models():
    """Inputs may be several tensors, which :mod:`proponent.rows` passes on."""
    callers = [path.name for path in PACKAGE.rglob("*.py") if "import functional_call" in path.read_text()]
    assert callers == ["rows.py"]


def test_every_package_is_in_the_list():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", ["config", "plan", "inspection", "metrics", "publish"])
def test_planning_and_statistics_import_no_torch(package):
    for path in (PACKAGE / package).rglob("*.py"):
        assert "import torch" not in path.read_text(), path


METHODS = PACKAGE / "methods"
KINDS = sorted(
    path.name for path in METHODS.iterdir() if (path / "__init__.py").exists() and path.name != "shared"
)


def imported_modules(path: Path) -> set[str]:
    """Return the modules that a file imports, and the names that it imports from packages, with dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_methods_share_steps_in_shared_and_never_import_each_other(kind):
    for path in (METHODS / kind).glob("*.py"):
        own = {name for name in imported_modules(path) if name.startswith("proponent.methods.")}
        others = {name for name in own if name.split(".")[2] != "shared"}
        assert not others, (
            f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(others))}; move it to methods/shared"
        )


def test_what_methods_share_imports_no_method():
    for path in (METHODS / "shared").rglob("*.py"):
        own = {name for name in imported_modules(path) if name.startswith("proponent.methods.")}
        assert all(name.split(".")[2] == "shared" for name in own), path.relative_to(PACKAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_is_a_page(kind):
    for path in (METHODS / kind).glob("*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.relative_to(PACKAGE)


def test_no_file_name_occurs_twice_in_the_package():
    names = [path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_modules_import_each_other_in_no_circle():
    """Only imports at the top of a module count: those inside functions run later."""
    files = {
        "proponent." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    imports = {}
    for name, path in files.items():
        top = ast.Module(
            [
                node
                for node in ast.parse(path.read_text()).body
                if isinstance(node, (ast.Import, ast.ImportFrom))
            ],
            type_ignores=[],
        )
        imports[name] = {
            f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in files else node.module
            for node in top.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        } & set(files)
    TopologicalSorter(imports).prepare()
