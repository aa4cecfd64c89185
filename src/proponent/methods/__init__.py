"""One module per family: pure functions from features to scores."""
