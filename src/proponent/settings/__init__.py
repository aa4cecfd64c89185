"""Datasets, models and tasks of the settings."""

from proponent.settings.fetched_files import fetch
from proponent.settings.split import Split

__all__ = ["Split", "fetch"]
