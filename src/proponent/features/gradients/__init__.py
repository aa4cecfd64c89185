"""Per-example gradients: tracing a model, blocks of factors, inner products and projections.

Modules, each built on those before it: ``factors`` (factors and terms), ``operations`` (operations whose weights have
factored gradients), ``tracing`` (the uses of weights in a forward pass); ``per_parameter`` (parts), ``projection`` and
``two_sided_projection``; ``dense_gradients`` and ``factored_gradients``, the two forms of a ``block``; ``block_assembly``
and ``capture`` (the gradients of a model); ``serialise`` (blocks as tensors for a file).
"""
