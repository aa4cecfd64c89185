"""Ridge datamodels that begin from gradients: retrainings correct a TRAK score instead of replacing it.

The penalty of :mod:`proponent.methods.datamodels_ridge` draws the weights of a query not to zero but to the best
multiple of its TRAK scores (Park et al. 2023), which one trained model gives. As lam grows the scores become TRAK's,
as it falls those of the retrainings alone; leave-one-out error over the retrainings decides how much to believe
either. A hundred retrainings tell little of a single example, but much of the few directions in which subsets vary
the most and gradients err.

Shapes: (n_query, n_train). Needs both the gradients of a member and retrainings, and is charged for both.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from proponent.methods import trak
from proponent.methods.datamodels_ridge import fit
from proponent.methods.inputs import Gradients, Retrainings


def attribute(
    gradients: Gradients,
    retrainings: Retrainings,
    *,
    damping: float = 3.0,
    checkpoint: float = 0.25,
    penalty: Literal["query", "shared"] = "shared",
) -> Tensor:
    """Return the weights of ridge datamodels around one member's TRAK scores.

    Args:
        gradients: of one member.
        retrainings: of the ``fit`` design.
        damping: of TRAK.
        checkpoint: of TRAK, a fraction of training.
        penalty: as for ridge datamodels.
    """
    kernel, weight = trak.attribute(gradients, damping=damping, checkpoint=checkpoint)
    return fit(retrainings, (kernel * weight).T, penalty).T
