"""Figures of a setting and of all settings. Equal input gives equal bytes."""
