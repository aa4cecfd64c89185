"""Numerical solvers of methods. Each module names its reference, and the reason why no library serves.

Symmetric systems and eigenpairs: ``damped_solver`` (many dampings of one matrix), ``krylov`` (block conjugate gradients),
``lanczos`` (outermost eigenpairs), ``lissa_recursion`` (Neumann series). Convex programs: ``lasso_path``,
``stationary_layer`` (multinomial logistic regression), ``svm_duals`` (multiclass support vector machine), ``sinkhorn``
(entropic optimal transport).
"""
