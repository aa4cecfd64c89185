"""Curvature against curvlinops, in float64; skipped unless curvlinops is installed (`pip install -e ".[peers]"`).

The project has its own curvature because it is factored, batched over queries and covers every layer: curvlinops covers
linear layers and convolutions, and multiplies the whole network with one vector at a time. Both agree where both apply.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from features.models import build
from proponent.features.curvature.member_curvature import Curvature
from proponent.settings.tasks import Classification

curvlinops = pytest.importorskip("curvlinops", reason="needs curvlinops: pip install -e '.[peers]'")


def of_both(name: str) -> tuple[Curvature, object]:
    """Return our curvature, and a function that returns a matrix of curvlinops as a dense one."""
    module, x, y = build(name, 12)
    module.eval()
    ours = Curvature(module, Classification(), x, y, x[:2], y[:2], weight_decay=0.0, duration=1.0)
    identity = torch.eye(ours.n_parameters, dtype=torch.float64)

    def theirs(kind: str, **options: object) -> Tensor:
        operator = getattr(curvlinops, kind)(
            module, nn.CrossEntropyLoss(), list(module.parameters()), [(x, y)], **options
        )
        return operator @ identity

    return ours, theirs


@pytest.mark.parametrize("name", ["linear", "mlp", "sequence", "conv1d", "conv2d", "embedding"])
def test_gauss_newton_matrix_and_hessian(name: str) -> None:
    ours, theirs = of_both(name)
    torch.testing.assert_close(ours.ggn(), theirs("GGNLinearOperator"))
    torch.testing.assert_close(ours.hessian(), theirs("HessianLinearOperator"))


@pytest.mark.parametrize("name", ["linear", "mlp", "conv2d"])
def test_kronecker_factored_curvature(name: str) -> None:
    ours, theirs = of_both(name)
    basis = ours.kronecker(0, 0)
    identity = torch.eye(ours.n_parameters, dtype=torch.float64)
    options = {"fisher_type": "type-2", "kfac_approx": "expand", "separate_weight_and_bias": False}
    for kind, values in (("KFACLinearOperator", basis.factored), ("EKFACLinearOperator", basis.eigenvalues)):
        torch.testing.assert_close(
            basis.from_eigenbasis(basis.to_eigenbasis(identity) * values), theirs(kind, **options)
        )
