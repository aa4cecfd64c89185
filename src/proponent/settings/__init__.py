"""What is attributed: datasets, models and tasks."""

from proponent.settings.split import Split

__all__ = ["Split"]
