"""Parts that several methods share: the vocabulary of needs, solvers, walks along training."""
