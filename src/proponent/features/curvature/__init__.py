"""Curvature of the training loss: matrix-vector products, dense matrices and Kronecker factors.

Modules, each built on those before it: ``curvature_products`` (the GGN and the Hessian times vectors), ``gauss_newton``
(roots of the GGN, and the matrix for plain linear layers); ``kronecker_layers``, ``kronecker_factors`` and ``kronecker``
(the eigenbasis of K-FAC and EK-FAC); ``member_curvature``, all of these for one member at one checkpoint.
"""
