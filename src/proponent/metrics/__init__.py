"""One module per metric, on shared statistics."""
