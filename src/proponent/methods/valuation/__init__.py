"""Data valuation: the average contribution of an example to subsets of the training set."""
