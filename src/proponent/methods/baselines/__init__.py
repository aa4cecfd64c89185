"""Baselines: scores that use no gradients. Every other method should exceed them."""
