"""Gradient similarity: comparisons of the gradients of a query and of a training example."""
