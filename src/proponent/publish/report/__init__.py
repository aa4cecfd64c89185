"""The report: one self-contained page about all settings, with charts, galleries, coverage and origins."""
