"""Influence functions computed after gradients are projected to fewer dimensions."""
