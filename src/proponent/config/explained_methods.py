"""Methods whose score of a pair is a differentiable function of the features of both examples (XDA)."""

from __future__ import annotations

OF_REPRESENTATIONS = ("dualda", "rps", "similarity")
"""Last parts of the names of modules whose scores are kernels of representations; those of the others are kernels of
gradients."""
EXPLAINED_MODULES = frozenset(
    {
        "proponent.methods.representer.dualda",
        "proponent.methods.representer.rps",
        "proponent.methods.baselines.similarity",
        "proponent.methods.gradient_similarity.graddot",
        "proponent.methods.trak.trak",
    }
)
"""The same modules by their whole names. Some hyper-parameters, such as a projection, rule a method out nevertheless."""
