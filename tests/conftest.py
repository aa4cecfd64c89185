"""Settings of all tests: one thread, so that results do not depend on the machine, and groups for two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

TOGETHER = ("workflow", "docs", "versioning", "publish", "slurm")
"""Folders whose tests share a finished run: one process runs them, the longest folder first."""
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pytest-xdist keep the tests of a folder, or of a file, in one process, and start with the longest."""
    groups = {item: _group(item.path.relative_to(_HERE)) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    order = {name: place for place, name in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(groups[item], len(order)))


def _group(path: Path) -> str:
    return path.parts[0] if path.parts[0] in TOGETHER else str(path)
