"""Influence functions: gradient similarity in the metric of the inverse curvature."""
