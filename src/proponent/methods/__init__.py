"""Attribution methods, one folder per kind and one module per method: pure functions from features to scores."""
