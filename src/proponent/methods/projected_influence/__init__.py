"""Influence functions on gradients that are projected to fewer dimensions first."""
