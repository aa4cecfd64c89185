"""Settings of all tests: one thread, so that results do not depend on the machine; the order of folders; processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proponent.steps.io.process import importing

with importing():
    import torch

torch.set_num_threads(1)

FIRST = ("workflow", "docs", "versioning", "publish", "slurm")
"""Folders with whole workflows, the longest first: quick tests then keep both processes of pytest-xdist busy to the end."""
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long folders first."""
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(_HERE).parts[0], len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process of pytest-xdist run the tests that share a fixture; other modes (``--dist``) stay as they are."""
    if config.getvalue("dist") != "load":
        return None
    from shared_fixtures import Together

    return Together(config, log)
