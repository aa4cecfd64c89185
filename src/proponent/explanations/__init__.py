"""Explanations of predictions from scores, gradients and representations: pure functions of arrays and tensors."""
