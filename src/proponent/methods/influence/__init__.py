"""Influence functions: inner products of gradients in the metric of the inverse curvature."""
