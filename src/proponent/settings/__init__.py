"""Datasets, models and tasks of the settings."""

from proponent.settings.split import Split

__all__ = ["Split"]
