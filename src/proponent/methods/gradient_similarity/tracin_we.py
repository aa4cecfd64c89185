"""TracIn on word embeddings (Yeh et al. 2022, "First is better than last for language data influence"), for texts.

    scores[q, i] = (1/n) sum_k  eta_k  w_i(theta_k) <grad_E f_q(theta_k), grad_E f_i(theta_k)>

E is the table of word embeddings, and eta_k the length of training that checkpoint k stands for, as in TracIn with
``steps="path"``. An example's gradient with respect to E has one row per word, so that only texts with a word in common
have a non-zero score: a sum over shared words of the similarity of their use. In later layers the contributions of all
words are mixed in one vector, and cancel between examples.

Shapes: (n_query, n_train). Cost: one pass over the data and one product per checkpoint. Fails where texts say the same
in other words. Settings must declare ``inputs: tokens``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.needs import Network
from proponent.methods.shared.path_lengths import path_lengths

INPUTS = "tokens"
CHECKPOINTS = 1


def attribute(network: Network, *, until: float = 1.0) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member along its training.
        until: fraction of training; the checkpoints up to the one nearest to it count.

    Raises:
        UserError: the model embeds no tokens.
    """
    scores = torch.zeros(())
    lengths = path_lengths(network.durations[: network.nearest(until) + 1])
    for eta, model in zip(lengths, network.along(), strict=False):
        inner = model.query.embeddings().inner(model.train.embeddings())
        scores = scores + inner * (model.loss_weight * (eta / model.n_train))
    return scores
