"""AirRep (Sun et al. 2025, "Enhancing training data attribution with representational optimization").

An encoder of examples is tuned so that attention over a subset S predicts the target of query q after training on S:

    f(q, S) = sum over i in S of a_i <e_q, e_i>,      a = softmax over S of |<e_q, e_i>|

The input of the encoder is the representation h at the last layer of one member, together with the label; the paper
tunes a text encoder, as :mod:`proponent.methods.learned.airrep_text` does. The encoder is tuned on retrainings: with r_j
the target on subset S_j, standardised over subsets, all pairs with r_i > r_j have the loss ``w_ij softplus(f(q, S_j) -
f(q, S_i))``, where ``w_ij = min(r_i - r_j, 5)``, or 0 below .1 (:mod:`proponent.methods.shared.subset_attention`).

``scores[q, i] = 20 tanh(<e_q, e_i> / 20)`` is the effect of a single example; attention is that of the bounded products
too. The effect of a group is not a sum of scores, and the LDS uses :func:`group_scores`.

Shapes: (n_query, n_train). Cost: per step, a few products of an (n_query, n_train) matrix with the subsets. Examples with
the same representation and label have the same scores, and the effect of a group is an average that does not depend on
the group's size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from proponent.methods.shared.class_count import class_count
from proponent.methods.shared.needs import Data, Representations, Retrainings
from proponent.methods.shared.resolution import spread_is_rounding
from proponent.methods.shared.retrained_targets import standardised_targets
from proponent.methods.shared.subset_attention import attended, bounded_products, tuned_embeddings
from proponent.seeds import derive_seed

TASKS = ("classification",)
RANGES = {"steps": "[0, inf)"}


def attribute(
    data: Data,
    representations: Representations,
    retrainings: Retrainings,
    *,
    steps: int = 600,
    checkpoint: float = 1.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return ``scores`` (n_query, n_train), and the embeddings ``query`` (n_query, d) and ``train`` (n_train, d).

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        retrainings: retrainings of the ``fit`` design.
        steps: number of steps of AdamW with which the encoder is tuned.
        checkpoint: fraction of training after which the representations are taken.
        seed: seed of the encoder's initialisation and of the subsets.
    """
    pair = representations.at(checkpoint)
    classes = class_count(data)
    train = torch.cat([pair.train, one_hot(data.y_train, classes).to(pair.train)], dim=1)
    query = torch.cat([pair.query, one_hot(data.y_query, classes).to(pair.query)], dim=1)
    # a column that is the same for all training examples has no spread to be divided by
    mean, spread = train.mean(0), torch.where(spread_is_rounding(train, 0), 1.0, train.std(0))
    train, query = (train - mean) / spread, (query - mean) / spread
    wanted = standardised_targets(retrainings.targets.to(train))
    embeddings = tuned_embeddings(train, query, retrainings.masks, wanted, steps, derive_seed(seed, "airrep"))
    return {"scores": bounded_products(embeddings), **embeddings}


def group_scores(stored: Mapping[str, Tensor], masks: Tensor) -> Tensor:
    """Return f(q, S) for each subset, (n_subsets, n_query).

    Args:
        stored: tensors that :func:`attribute` returned.
        masks: subsets, (n_subsets, n_train) bool, True = kept.
    """
    return attended(bounded_products(stored), masks)
