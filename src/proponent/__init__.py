"""A declarative, reproducible benchmark of training data attribution (TDA)."""

__version__ = "0.1.0"
