"""Imports flow one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/proponent"
FREE = {"chunking", "errors", "formatting", "progress", "seeds", "slurm", "torch_compat"}
MAY_IMPORT = {
    "config": set(),
    "methods": set(),
    "metrics": set(),
    "publish": set(),
    "settings": {"config"},
    "store": {"config"},
    "training": {"config", "settings"},
    "features": {"config", "settings"},
    "plan": {"config", "store"},
    "inspection": {"config", "store", "plan"},
    "attribution": {"config", "methods", "metrics"},
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


def test_every_package_is_in_the_list():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", ["config", "plan", "inspection", "metrics", "publish"])
def test_planning_and_statistics_import_no_torch(package):
    for path in (PACKAGE / package).rglob("*.py"):
        assert "import torch" not in path.read_text(), path
