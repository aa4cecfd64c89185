"""Unrolling: derivatives of the trained model through the steps of its training."""
