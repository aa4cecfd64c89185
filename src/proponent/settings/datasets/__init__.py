"""Dataset factories of the built-in settings: one module per source of data, and one card per dataset."""

from proponent.settings.datasets.handwritten import digits, mnist5k

__all__ = ["digits", "mnist5k"]
