"""Random scores: the floor that every method must clear, and a check that the evaluation is centred.

``scores[q, i] ~ N(0, 1)``, independent of model and data. Its LDS is zero within its confidence interval.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Data
from proponent.seeds import derive_seed


def attribute(data: Data, *, seed: int = 0) -> Tensor:
    """Return standard normal scores, (n_query, n_train), the same for the same seed and sizes."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise"))
    return torch.randn(len(data.x_query), len(data.x_train), generator=generator)
