"""Parts that several methods share: the vocabulary of needs, the workspace, solvers, and common steps."""
