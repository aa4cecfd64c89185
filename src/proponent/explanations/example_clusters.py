"""Clusters of training examples whose gradients, or representations, point in similar directions.

Examples with similar gradients push the model in the same direction (TracIn, Pruthi et al. 2020, groups the examples of a
class by the inner products of normalised gradients). Cosines are the edges of a graph, which spectral clustering of
scikit-learn divides; its labels are read off a pivoted QR decomposition (Damle, Minden & Ying 2019), which draws nothing at
random. A negative cosine gives an edge of weight 0.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError

_ALONE = -1
"""Label of examples that are similar to no other example."""


@dataclass(frozen=True)
class Clusters:
    """A division of examples into clusters, the largest first.

    Attributes:
        labels: (n,) int64, number of the cluster of each example; -1 for an example that is similar to no other one.
        sizes: number of examples per cluster.
        cohesion: mean cosine of two different examples of the cluster, per cluster; 1 for a cluster of one example.
        exemplars: indices of the most typical examples per cluster, those with the largest mean cosine first.
    """

    labels: NDArray[np.int64]
    sizes: tuple[int, ...]
    cohesion: tuple[float, ...]
    exemplars: tuple[tuple[int, ...], ...]


def cluster_examples(cosines: NDArray[np.floating[Any]], count: int, exemplars: int = 8) -> Clusters:
    """Divide examples into clusters of similar ones.

    Args:
        cosines: (n, n) cosines of the examples, symmetric.
        count: number of clusters, at least 2 and below the number of examples that are similar to another one.
        exemplars: largest number of typical examples per cluster.

    Raises:
        UserError: ``count`` is out of range.
    """
    from sklearn.cluster import SpectralClustering

    affinity = np.clip(cosines, 0.0, 1.0).astype(np.float64)
    np.fill_diagonal(affinity, 0.0)
    kept = np.flatnonzero(affinity.sum(axis=1) > 0)
    if not 2 <= count < len(kept):
        raise UserError(
            f"the number of clusters must be at least 2 and below {len(kept)}, the number of examples that are similar to "
            f"another one, not {count}"
        )
    algorithm = SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=0, eigen_tol=1e-6
    )
    with warnings.catch_warnings():
        # groups without an edge between them are what clusters are for
        warnings.filterwarnings("ignore", "Graph is not fully connected")
        found = algorithm.fit_predict(affinity[np.ix_(kept, kept)])
    members = [kept[found == number] for number in np.unique(found)]
    members.sort(key=lambda rows: (-len(rows), rows[0]))
    labels = np.full(len(cosines), _ALONE, dtype=np.int64)
    cohesion, typical = [], []
    for number, rows in enumerate(members):
        labels[rows] = number
        own = cosines[np.ix_(rows, rows)].astype(np.float64)
        others = len(rows) - 1
        means = (own.sum(axis=1) - own.diagonal()) / max(1, others)
        cohesion.append(float(means.mean()) if others else 1.0)
        typical.append(tuple(int(row) for row in rows[np.argsort(-means, kind="stable")[:exemplars]]))
    return Clusters(labels, tuple(map(len, members)), tuple(cohesion), tuple(typical))
