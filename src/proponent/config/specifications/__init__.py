"""Specifications: what the plan tells a step, the artefacts that a step reads, and the loaders of needs."""
