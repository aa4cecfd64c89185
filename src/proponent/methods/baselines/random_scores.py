"""Random scores, the lower reference for every method and a check that the evaluation is centred.

``scores[q, i] ~ N(0, 1)``, independent of model and data. Their LDS is 0 within its confidence interval.

Shapes: (n_query, n_train). Cost: a random number per score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.methods.shared.array_needs import ArrayData
from proponent.seeds import derive_seed

ARRAYS = "numpy"


def attribute(data: ArrayData, *, seed: int = 0) -> NDArray[np.float32]:
    """Return standard normal scores, (n_query, n_train), which depend on ``seed`` and the sizes alone.

    Args:
        data: examples and queries, of which only the numbers of rows are used.
        seed: seed of the draws.
    """
    generator = np.random.default_rng(derive_seed(seed, "random_scores"))
    return generator.standard_normal((len(data.y_query), len(data.y_train)), dtype=np.float32)
