"""Representer points (Yeh et al. 2018, "Representer point selection for explaining deep neural networks").

The representations h of the network are kept, with a 1 appended for the bias, and its last layer W is fitted again to a
stationary point of

    (1/n) sum_i CE(W^T h_i, y_i) + lam ||W||_F^2

There the gradient is zero, so that the layer, hence every logit, is a sum over the training examples:

    W = sum_i h_i alpha_i^T,   alpha_i = (onehot(y_i) - p_i) / (2 lam n),   scores[q, i] = alpha_i[c] <h_i, h_q>

with c the query's label: ``sum_i scores[q, i]`` is the refitted logit of c.

Shapes: (n_query, n_train). Cost: a convex fit in float64 (4500 x 785 and 10 classes: 5 s at lam = 1e-4, less above, on 2
CPU cores) and one matrix product. The scores explain classes more than examples, and ignore all layers before the last.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from proponent.methods.shared.bias_column import append_bias_column
from proponent.methods.shared.class_count import class_count
from proponent.methods.shared.needs import Data, RepresentationPair, Representations, Workspace
from proponent.methods.shared.solvers.stationary_layer import stationary_layer

TASKS = ("classification",)
RANGES = {"regularisation": "(0, inf)"}


def attribute(
    data: Data,
    representations: Representations,
    workspace: Workspace,
    *,
    regularisation: float = 0.003,
    checkpoint: float = 1.0,
) -> Tensor:
    """Return the representer values, (n_query, n_train).

    Args:
        data: examples and queries, of which only the labels are used.
        representations: representations of one member.
        workspace: storage that keeps alpha between calls.
        regularisation: lam.
        checkpoint: fraction of training after which the representations are taken.

    Raises:
        UserError: the fit stopped before it was stationary.
    """
    pair = representations.at(checkpoint)
    alpha = _alpha(pair, data, regularisation, workspace)
    inner = append_bias_column(pair.query) @ append_bias_column(pair.train).T
    return alpha[:, data.y_query].T * inner


def self_influence(
    data: Data,
    representations: Representations,
    workspace: Workspace,
    *,
    regularisation: float,
    checkpoint: float,
) -> Tensor:
    """Return ``|alpha_i|`` at each training example's own label, (n_train,): how hard the example is to fit."""
    alpha = _alpha(representations.at(checkpoint), data, regularisation, workspace)
    return alpha.gather(1, data.y_train[:, None])[:, 0].abs()


def _alpha(pair: RepresentationPair, data: Data, lam: float, workspace: Workspace) -> Tensor:
    """Return alpha, (n_train, n_classes), in the dtype of the representations."""
    classes = class_count(data)

    def make() -> Tensor:
        features = append_bias_column(pair.train).double().numpy(force=True)
        targets = one_hot(data.y_train, classes).double().numpy(force=True)
        return torch.from_numpy(stationary_layer(features, targets, lam)).to(pair.train)

    return workspace.keep(pair.train, ("rps", lam, classes), make)
