"""DualDA (Yolcu et al. 2025, "DualXDA"): dual variables of a multiclass SVM on the representations.

The representations h of the network are kept, with a 1 appended for the bias, and the multiclass SVM of Crammer and
Singer is fitted to them,

    min over W   ||W||_F^2 / 2 + C sum_i max_c (w_c^T h_i - w_{y_i}^T h_i + 1[c != y_i])

At its minimum the layer, hence every logit, is a sum over the training examples:

    W = sum_i h_i alpha_i^T,     scores[q, i] = alpha_i[c] <h_i, h_q>

with c the query's label: ``sum_i scores[q, i]`` is the SVM's logit of c. Most examples are not support vectors; their
alpha and their column of the scores are zero.

Shapes: (n_query, n_train). Cost: the solver :mod:`proponent.methods.shared.solvers.svm_duals` (4500 x 65 and ten classes:
0.2 s on one CPU core). The scores explain the SVM instead of the network; how often the two agree is
recorded in the manifest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.methods.shared.bias_column import append_bias_column
from proponent.methods.shared.class_count import class_count
from proponent.methods.shared.needs import Data, Outputs, RepresentationPair, Representations, Workspace
from proponent.methods.shared.solvers.svm_duals import multiclass_svm_duals

TASKS = ("classification",)
RANGES = {"cost": "(0, inf)"}


def attribute(
    data: Data,
    representations: Representations,
    outputs: Outputs,
    workspace: Workspace,
    *,
    cost: float = 0.1,
    checkpoint: float = 1.0,
) -> dict[str, Tensor]:
    """Return the scores, and their sparse form: ``support`` (m,) and ``duals`` (m, n_classes).

    ``scores[q, support[j]] = duals[j, y_q] <h_support[j], h_q>``, and 0 elsewhere. Two scalars are returned as well:
    ``agreement`` is the share of training examples and queries to which SVM and network assign the same label, and
    ``support_fraction`` the share of training examples that are support vectors.

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        outputs: outputs of the same member, compared with those of the SVM.
        workspace: storage that keeps alpha between calls.
        cost: C, in units of 1 / mean squared norm of a representation.
        checkpoint: fraction of training after which representations and outputs are taken.

    Raises:
        UserError: the solver did not converge.
    """
    pair = representations.at(checkpoint)
    alpha = _alpha(pair, data, cost, workspace)
    train, query = append_bias_column(pair.train), append_bias_column(pair.query)
    support = alpha.any(1).nonzero()[:, 0]
    duals = alpha[support]
    scores = query.new_zeros(len(query), len(train))
    scores[:, support] = duals[:, data.y_query].T * (query @ train[support].T)
    weights = train[support].T @ duals
    own = outputs.at(checkpoint)
    agree = [
        (features @ weights).argmax(1) == _predicted(logits, alpha.shape[1])
        for features, logits in ((train, own.train), (query, own.query))
    ]
    return {
        "scores": scores,
        "support": support,
        "duals": duals,
        "agreement": torch.cat(agree).double().mean(),
        "support_fraction": torch.tensor(len(support) / len(alpha)),
    }


def self_influence(
    data: Data,
    representations: Representations,
    outputs: Outputs,
    workspace: Workspace,
    *,
    cost: float,
    checkpoint: float,
) -> Tensor:
    """Return alpha_i at the example's own label, (n_train,), in [0, C]: C where it is on the wrong side of the margin."""
    alpha = _alpha(representations.at(checkpoint), data, cost, workspace)
    return alpha.gather(1, data.y_train[:, None])[:, 0]


def _predicted(logits: Tensor, classes: int) -> Tensor:
    """Return the labels that a network assigns, (n,); with one logit, label 1 is assigned where it is positive."""
    rows = logits.reshape(len(logits), -1)
    return (rows[:, 0] > 0).long() if rows.shape[1] == 1 else rows[:, :classes].argmax(1)


def _alpha(pair: RepresentationPair, data: Data, cost: float, workspace: Workspace) -> Tensor:
    """Return alpha, (n_train, n_classes), in the dtype of the representations."""
    classes = class_count(data)

    def make() -> Tensor:
        features = append_bias_column(pair.train).double().numpy(force=True)
        bound = cost / float((features**2).sum(1).mean())
        alpha = multiclass_svm_duals(features, data.y_train.numpy(force=True), bound, classes)
        return torch.from_numpy(alpha).to(pair.train)

    return workspace.keep(pair.train, ("dualda", cost, classes), make)
