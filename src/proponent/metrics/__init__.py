"""Metrics of attribution quality, one per module, and their shared statistics (ranks, resamples, ceilings, comparisons)."""
