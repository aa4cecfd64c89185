"""Number of label draws with which a Gauss-Newton matrix is estimated."""

EXACT_OUTPUTS = 32
"""Number of outputs up to which the expectation over labels is exact: one backward pass per output is affordable."""


def label_draws(n_outputs: int, samples: int) -> int:
    """Return the number of label draws per example, 0 for the exact expectation.

    Args:
        n_outputs: number of outputs of the model.
        samples: draws per example for models with more than :data:`EXACT_OUTPUTS` outputs.
    """
    return samples if n_outputs > EXACT_OUTPUTS else 0
