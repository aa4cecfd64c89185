"""A finished run of the tiny setting, made once; tests work on copies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.checkout import Checkout, make_checkout


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_checkout(tmp_path_factory.mktemp("finished") / "checkout")
    checkout.run(*checkout.command())
    return checkout


@pytest.fixture
def checkout(finished_run: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished run, to be changed."""
    return finished_run.copy(tmp_path / "checkout")


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """A checkout in which nothing has been run."""
    return make_checkout(tmp_path / "fresh")
