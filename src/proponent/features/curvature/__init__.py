"""Curvature of the training loss: matrix-vector products and Kronecker factors."""
