"""Proof of the table of layer kinds in ``docs/models.md``: each cell against ordinary torch in float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from features.layer_cases import CASES, N_TRAIN, LayerCase, inputs
from features.layer_table import PAGE, with_table
from oracles.gradients import gradients_by_loop
from oracles.training import train_alone
from oracles.unrolling import differences
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.capture import Capture
from proponent.methods.unrolling import magic
from proponent.self_check.check_setting import check_setting
from proponent.self_check.subject import Subject
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification
from proponent.training import lockstep
from proponent.training.designs import Run
from proponent.training.pass_choice import PassChoice, pass_choice
from proponent.training.replay import Replay
from proponent.training.stack import state_dict

TASK = Classification()
RECIPE = RecipeConfig(lr=0.1, momentum=0.5, epochs=2, batch_size=3)
SHORT = RecipeConfig(lr=0.1, momentum=0.5, epochs=1, batch_size=3)
EPS = 1e-5
MASK = torch.arange(N_TRAIN) != 2
RUNS = [Run(1, 2), Run(3, 4, MASK), Run(5, 6, MASK, by_weight=True)]


def arrays(case: LayerCase) -> Arrays:
    x, y = inputs(case.data)
    return Arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:])


def prepared(case: LayerCase) -> Callable[[int], nn.Module]:
    return lambda seed: prepare_model(case.build(seed))


def proved(engine: str) -> Any:
    """Return a decorator that runs a proof for every row, or expects the refusal that the row names."""

    def decorate(proof: Callable[[LayerCase], None]) -> Callable[[str], None]:
        def test(name: str) -> None:
            case = CASES[name]
            if engine not in case.refused:
                proof(case)
                return
            with pytest.raises(UserError) as error:
                proof(case)
            message = str(error.value)
            assert case.refused[engine] in message and len(message.splitlines()) == 1

        test.__name__ = proof.__name__
        test.__doc__ = proof.__doc__
        return pytest.mark.parametrize("name", CASES)(test)

    return decorate


@proved("lockstep")
def test_lockstep_is_ordinary_training(case: LayerCase) -> None:
    """Three models with masks, over two epochs whose last batches have another size.

    They share a stacked pass, and are trained one by one in addition if that is how a CPU trains this model.
    """
    given = arrays(case)
    alone = [train_alone(prepared(case), given.x_train, given.y_train, RECIPE, run)[0] for run in RUNS]
    model = prepared(case)(0)
    default = pass_choice(model, given.x_train, given.y_train, TASK, RECIPE, "cpu")
    for stacked in {True, default.stacked}:
        choice = PassChoice(2 if stacked else 1, stacked)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lockstep, "pass_choice", lambda *_, choice=choice: choice)
            found = lockstep.train(case.build, given.x_train.clone(), given.y_train, TASK, RECIPE, RUNS)
        for index, expected in enumerate(alone):
            own = state_dict(found.template, found.state, index)
            torch.testing.assert_close(own, dict(expected.state_dict()), rtol=1e-10, atol=1e-11)


@proved("capture")
def test_captured_gradients_are_those_of_autograd(case: LayerCase) -> None:
    """Gradients of targets and of losses."""
    x, y = inputs(case.data)
    capture = Capture(case.build(), x[:1])
    for value in (TASK.target, TASK.loss):

        def cotangents(outputs: Tensor, labels: Tensor, value: Any = value) -> Tensor:
            leaf = outputs.detach().requires_grad_()
            with torch.enable_grad():
                return torch.autograd.grad(value(leaf, labels).sum(), leaf)[0][:, None]

        block, _ = capture.all_gradients(x, y, cotangents)
        expected = gradients_by_loop(prepared(case)(0), value, x, y)
        torch.testing.assert_close(block.dense(), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(block.inner(block), expected @ expected.T, rtol=1e-10, atol=1e-12)


@proved("curvature")
def test_curvature_is_that_of_dense_matrices(case: LayerCase) -> None:
    """Products with the Gauss-Newton matrix, the Hessian, and the eigenvalues of EK-FAC."""
    given = arrays(case)
    member = Curvature(case.build(), TASK, *given, weight_decay=0.0, duration=1.0)
    module = prepared(case)(0)
    vectors = torch.randn(2, member.n_parameters, generator=torch.Generator().manual_seed(0)).double()
    blocks = dense_ggn(module, given)
    torch.testing.assert_close(member.ggn_product(vectors), vectors @ blocks, rtol=1e-9, atol=1e-11)
    moved = vectors * (blocks.diagonal() > 0)  # a padding row has no derivative, but moves the outputs
    hessian = hessian_products(module, given, moved)
    torch.testing.assert_close(member.hessian_product(vectors), hessian, rtol=1e-5, atol=1e-7)
    basis = member.kronecker(0, 0)
    identity = torch.eye(member.n_parameters, dtype=torch.float64)
    turned = basis.to_eigenbasis(identity)
    torch.testing.assert_close(
        basis.eigenvalues, (turned.T @ blocks @ turned).diagonal(), rtol=1e-9, atol=1e-11
    )


def dense_ggn(module: nn.Module, given: Arrays) -> Tensor:
    """Return the mean of J^T H J, with one backward pass per output of an example."""
    x, y = given.x_train, given.y_train
    with torch.no_grad():
        p = module.eval()(x).softmax(1)
    jacobians = torch.stack(
        [gradients_by_loop(module, lambda out, _, c=c: out[:, c], x, y) for c in range(p.shape[1])], 1
    )
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nci,ncd,ndj->ij", jacobians, bend, jacobians) / len(x)


def hessian_products(module: nn.Module, given: Arrays, vectors: Tensor) -> Tensor:
    """Return central differences of the gradient of the mean loss."""
    parameters = [value for value in module.eval().parameters() if value.requires_grad]
    start = nn.utils.parameters_to_vector(parameters).detach()

    def gradient(point: Tensor) -> Tensor:
        with torch.no_grad():
            nn.utils.vector_to_parameters(point, parameters)
        loss = TASK.loss(module(given.x_train.clone()), given.y_train).mean()
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([value.to_dense().flatten() for value in found])

    return torch.stack(
        [(gradient(start + EPS * vector) - gradient(start - EPS * vector)) / (2 * EPS) for vector in vectors]
    )


@proved("replay")
def test_replay_is_the_derivative_of_ordinary_training(case: LayerCase) -> None:
    """MAGIC's scores are central differences of whole trainings with respect to the weights of the examples."""
    given = arrays(case)
    replay = Replay(prepared(case), TASK, SHORT, RUNS[0], given)
    expected = differences(prepared(case), given, SHORT, RUNS[0], TASK)
    torch.testing.assert_close(magic.attribute(replay), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
def test_the_check_refuses_what_is_refused_before_any_training(name: str) -> None:
    """A model that cannot be trained is refused as a whole, in one line that names the layer; otherwise the needs are."""
    case = CASES[name]
    subject = Subject("lab", prepared(case), arrays(case), TASK, RECIPE)
    if {"lockstep", "capture"} & set(case.refused):
        with pytest.raises(UserError) as error:
            check_setting(subject)
        message = str(error.value)
        assert re.search(r"(layer|parameter|holds) 'layer[.\w]*'|the model \(Net\)", message), message
        assert len(message.splitlines()) == 1
        return
    found = check_setting(subject, ["network.hessian_product", "replay"])
    for engine, use in {"curvature": "network.hessian_product", "replay": "replay"}.items():
        assert case.refused.get(engine, "") in found.get(use, "")
        assert (engine in case.refused) == (use in found)


def test_the_page_has_the_table_that_is_proved() -> None:
    assert with_table(page := PAGE.read_text()) == page, (
        "run: PYTHONPATH=src:tests python -m features.layer_table"
    )
