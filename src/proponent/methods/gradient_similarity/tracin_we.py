"""TracIn on word embeddings alone, for texts.

(Yeh et al. 2022, "First is better than last for language data influence".)

    scores[q, i] = (1/n) sum_k  eta_k  w_i(theta_k) <grad_E f_q(theta_k), grad_E f_i(theta_k)>

where E holds the embeddings of the words, and eta_k is the length of training that checkpoint k stands for, as in
:mod:`proponent.methods.gradient_similarity.tracin`. An example's gradient by E has a row for each of its words, so that only texts that
share words have a score at all: a sum over shared words of how alike they are used. In later layers everything that
a text does is blurred into one vector, which cancels between examples.

Shapes: (n_query, n_train). Cost: a pass over the data and one product a checkpoint. Fails where texts say the same
in other words, and of course without words: it needs ``inputs: tokens``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.gradient_similarity.tracin import path_steps
from proponent.methods.shared.needs import Network

INPUTS = "tokens"
CHECKPOINTS = 1


def attribute(network: Network, *, until: float = 1.0) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        network: one member.
        until: fraction of the path (the sum of the learning rates) whose checkpoints count; the first always does.

    Raises:
        UserError: the model embeds no tokens.
    """
    scores = torch.zeros(())
    for eta, model in zip(path_steps(network.durations, until), network.along(), strict=False):
        inner = model.query.embeddings().inner(model.train.embeddings())
        scores = scores + inner * (model.loss_weight * (eta / model.n_train))
    return scores
