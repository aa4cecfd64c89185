"""Parts that several methods share: the vocabulary of needs, the workspace, solvers, and walks along training."""
