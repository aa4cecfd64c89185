"""Per-example gradients: tracing a model, blocks of factors, inner products and projections."""
