"""A checkout of one setting whose jobs run in this process, without Snakemake."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from proponent.config.benchmark import load_benchmark
from proponent.plan.graph import Node
from proponent.plan.run_plan import Plan
from workflow.checkout import REPOSITORY
from workflow.this_process import make_artefact


@contextlib.contextmanager
def one_setting(
    root: Path, name: str, setting: str, factories: str, params: str = ""
) -> Iterator[Callable[[], dict[str, Node]]]:
    """Lay out a checkout below ``root`` and enter it; the block is given a function that returns its plan.

    Args:
        root: folder of the checkout.
        name: name of the setting, and of the module ``{name}_factories``.
        setting: YAML of the setting.
        factories: Python of the module.
        params: further lines of ``params.yaml``.
    """
    root.mkdir(parents=True, exist_ok=True)
    for linked in ("src", "workflow", "Snakefile"):
        (root / linked).symlink_to(REPOSITORY / linked)
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    (root / f"{name}_factories.py").write_text(factories)
    (root / f"configs/settings/{name}.yaml").write_text(setting)
    methods = "" if "methods:" in params else "methods: [random]\n"
    metrics = "" if "metrics:" in params else "metrics: []\n"
    (root / "params.yaml").write_text(f"settings: [{name}]\n{methods}{metrics}{params}")
    sys.path.insert(0, str(root))
    try:
        with contextlib.chdir(root):
            yield lambda: dict(Plan(load_benchmark(root, {})).graph.nodes)
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(f"{name}_factories", None)


def make(root: Path, plan: dict[str, Node], *steps: str) -> list[str]:
    """Make the artefacts of some steps in this process, and return their paths."""
    chosen = [node for node in plan.values() if node.step in steps]
    for node in chosen:
        make_artefact(root, node)
    return [node.path for node in chosen]
