"""Compressive strength of concrete (Yeh, 1998): a table of real measurements, which comes with the package."""

from __future__ import annotations

import numpy as np

from proponent.settings.datasets.tables import standardised_split
from proponent.settings.fetched_files import fetch
from proponent.settings.split import Split

_SHA256 = "431e0b0b8bab99794c905cb45440a089c32c8f6d14bfd2602d1449727db92222"


def concrete(n_train: int = 830, seed: int = 0) -> Split:
    """Return 1,030 measurements, shuffled: ``n_train`` training examples and the rest as queries.

    A row has the kilograms per cubic metre of seven ingredients and the age in days, and y is the compressive strength in
    MPa; both are standardised by means and deviations of the training examples.

    Args:
        n_train: number of training examples, below 1,030.
        seed: seed of the shuffle.

    Raises:
        UserError: there are at most ``n_train`` measurements.
    """
    path = fetch("proponent:settings/datasets/concrete.csv", sha256=_SHA256)
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    return standardised_split(rows[:, :-1], rows[:, -1], n_train, seed, card="concrete")
