"""Structured configuration: dataclasses, merging, validation with helpful errors, content keys. Imports no torch."""
