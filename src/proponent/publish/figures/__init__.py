"""Figures: tables and arrays in, matplotlib figures out, the same bytes every time."""
