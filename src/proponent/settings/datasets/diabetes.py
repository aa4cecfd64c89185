"""Progression of diabetes (Efron et al., 2004), the table of scikit-learn."""

from __future__ import annotations

from proponent.settings.datasets.tables import standardised_split
from proponent.settings.split import Split


def diabetes(n_train: int = 342, seed: int = 0) -> Split:
    """Return 442 patients, shuffled: ``n_train`` training examples and the rest as queries, in float64.

    A row has ten measurements at the begin of the study, and y is the progression of the disease one year later; both are
    standardised by means and deviations of the training examples, so that a linear model needs no bias.

    Args:
        n_train: number of training examples, below 442.
        seed: seed of the shuffle.

    Raises:
        UserError: there are at most ``n_train`` patients.
    """
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    return standardised_split(x, y, n_train, seed, card="diabetes")
