"""Rows of faults.md about models: each kind works and agrees with autograd, or is refused in one line."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faults.model_zoo import CASES, N_TRAIN, By, inputs, net, two, weight
from features.models import target_gradients
from oracles.gradients import gradients_by_loop
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradients.agreement import compare_with_autograd
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.features.gradients.per_parameter import RowsPart
from proponent.features.member_features import featurize, read_representations
from proponent.features.views import CheckpointTimes
from proponent.methods.projected_influence import logra
from proponent.methods.representer import rps
from proponent.methods.shared.solvers.damped_solver import DampedSolver
from proponent.methods.shared.workspace import Workspace
from proponent.methods.unrolling import magic
from proponent.settings.model_diagnosis import diagnose, random_generators_used
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Arrays, check_model
from proponent.settings.tasks import Classification
from proponent.torch_compat import Rewritten, transformable
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.replay import Replay
from proponent.training.stack import state_dict
from proponent.training.stages import epoch_order, stages_of

TASK = Classification()
RECIPE = RecipeConfig(lr=0.1, epochs=2, batch_size=8)
RUNS = [Run(1, 2), Run(3, 4)]
Make = Callable[[], nn.Module]


def builder(make: Make) -> Callable[[int], nn.Module]:
    def build(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return prepare_model(make())

    return build


def arrays(data: str) -> Arrays:
    x, y = inputs(data)
    return Arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:])


def trained(make: Make, data: str = "vectors") -> nn.Module:
    """Check and train a model as the steps do, and return the first of two."""
    given = arrays(data)
    check_model(make(), given, TASK, "lab")
    found = train(builder(make), given.x_train.clone(), given.y_train, TASK, RECIPE, RUNS)
    module = builder(make)(1)
    module.load_state_dict(state_dict(found.template, found.state, 0))
    return module


def curvature(module: nn.Module, data: str = "vectors") -> Curvature:
    return Curvature(module, TASK, *arrays(data), weight_decay=0.0, duration=1.0)


def refusal(run: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        run()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def ordinary(make: Make, run: Run, given: Arrays) -> dict[str, Tensor]:
    """Return the parameters after ordinary training in the order of a run, without proponent's engines."""
    module = builder(make)(run.init_seed).train()
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=RECIPE.lr)
    (stage,) = stages_of(RECIPE, run, len(given.x_train))
    for epoch in range(RECIPE.epochs):
        for batch in epoch_order(run, stage, epoch).split(RECIPE.batch_size):
            optimizer.zero_grad()
            TASK.loss(module(given.x_train[batch].clone()), given.y_train[batch]).mean().backward()
            optimizer.step()
    return dict(module.state_dict())


WORKING = [name for name, case in CASES.items() if case.refused is None]
REFUSED = [name for name, case in CASES.items() if case.refused is not None]


@pytest.mark.parametrize("name", WORKING)
def test_a_model_works_in_every_engine(name: str) -> None:
    case = CASES[name]
    module = trained(case.make, case.data)
    given = arrays(case.data)
    if "dropout" not in name and "activations" not in name:
        expected = ordinary(case.make, RUNS[0], given)
        torch.testing.assert_close(dict(module.state_dict()), expected, rtol=2e-4, atol=2e-5)
    block, _ = target_gradients(module, TASK, given.x_query, given.y_query)
    expected = gradients_by_loop(module, TASK.target, given.x_query, given.y_query)
    torch.testing.assert_close(block.dense(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block.inner(block), expected @ expected.T, rtol=1e-3, atol=1e-4)
    assert block.project(64, "sparse", 0).inner(block.project(64, "sparse", 0)).isfinite().all()
    member = curvature(module, case.data)
    vectors = torch.randn(2, member.n_parameters, generator=torch.Generator().manual_seed(0)).to(
        member.train.dtype
    )
    if case.no_curvature is None:
        torch.testing.assert_close(
            member.hessian_product(vectors), hessian_products(module, given, vectors), rtol=1e-3, atol=1e-5
        )
        root = member.ggn_root().dense()
        torch.testing.assert_close(
            member.ggn_product(vectors), vectors @ root.T @ root / N_TRAIN, rtol=1e-3, atol=1e-4
        )
    else:
        assert case.no_curvature in refusal(lambda: member.ggn_product(vectors))


def hessian_products(module: nn.Module, given: Arrays, vectors: Tensor) -> Tensor:
    """Return products with the Hessian of the mean loss by two backward passes."""
    parameters = [value for value in module.eval().parameters() if value.requires_grad]
    with (
        transformable(),
        Rewritten(),
    ):  # torch's second derivatives of weight_norm are wrong, those of bags missing
        loss = TASK.loss(module(given.x_train.clone()), given.y_train).mean()
    slopes = torch.autograd.grad(
        loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
    )
    slope = torch.cat([value.to_dense().flatten() for value in slopes])
    rows = [
        torch.autograd.grad(
            slope @ vector, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for vector in vectors
    ]
    return torch.stack([torch.cat([value.to_dense().flatten() for value in row]) for row in rows])


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_is_refused_in_one_line(name: str) -> None:
    case = CASES[name]

    def run() -> None:
        module = trained(case.make, case.data)
        target_gradients(module, TASK, *inputs(case.data))

    assert re.search(str(case.refused), message := refusal(run)), message


@pytest.mark.parametrize("name", WORKING)
def test_magic_without_forward_ad_is_refused_in_one_line_and_works_otherwise(name: str) -> None:
    case = CASES[name]
    given = arrays(case.data)
    run = Run(1, 2)

    def scores() -> Tensor:
        return magic.attribute(Replay(builder(case.make), TASK, RECIPE, run, given))

    if name in ("stopped gradients of a trained part", "an autograd.Function"):
        assert re.search("behind .detach|cannot be replayed.*forward", message := refusal(scores)), message
        return
    if case.no_replay is not None:
        assert re.search(case.no_replay, message := refusal(scores)), message
        return
    assert scores().isfinite().all()


def test_gradients_of_a_prelu_are_right_with_and_without_its_replacement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Derivatives of a vectorised pass are right where vectorised derivatives, of one example each, have a wrong shape."""
    x, y = inputs("vectors")
    module = net(nn.PReLU())
    expected = gradients_by_loop(module, TASK.target, x, y)
    torch.testing.assert_close(
        target_gradients(module, TASK, x, y)[0].dense(), expected, rtol=1e-4, atol=1e-5
    )
    monkeypatch.setattr(Rewritten, "functions", {})
    torch.testing.assert_close(
        target_gradients(module, TASK, x, y)[0].dense(), expected, rtol=1e-4, atol=1e-5
    )


def test_gradients_of_a_wrong_shape_are_refused_by_name() -> None:
    x, y = inputs("vectors")
    capture = Capture(net(nn.PReLU()), x[:1])
    block, _ = capture.gradients(x, y, target_cotangents(TASK))
    rows = {part.name: part.values[:, None] for part in block.parts if isinstance(part, RowsPart)}
    assert rows["1.weight"].shape[2:] == (1,)
    capture._check_rows(rows)
    message = refusal(lambda: capture._check_rows(rows | {"1.weight": rows["1.weight"].expand(-1, -1, 5)}))
    assert re.search(r"gradient of the model's '1.weight' the shape \(5,\)", message), message


@pytest.mark.parametrize("row", [0, 8, 15])
def test_prelu_wrong_gradients_of_any_kind_are_found_in_several_examples(
    row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = inputs("vectors")
    capture = Capture(net(), x[:1])
    right = capture.gradients
    cotangents = target_cotangents(TASK)
    compare_with_autograd(capture, x, y, cotangents)

    def wrong(some: Tensor, labels: Tensor, given: Any) -> Any:
        block, outputs = right(some, labels, given)
        for part in block.parts:
            if part.name == "2.weight":
                part.terms[0].left.values[(some == x[row]).all(1)] *= 1.1
        return block, outputs

    monkeypatch.setattr(capture, "gradients", wrong)
    message = refusal(lambda: capture.all_gradients(x, y, cotangents))
    assert re.search(rf"gradient of the model's '2.(weight|bias)' differs .* for example {row}", message), (
        message
    )


def test_scalar_parameter() -> None:
    module = trained(CASES["scalar temperature"].make)
    assert module.t.shape == () and float(module.t) != 0


def test_rps_on_integers_is_zero() -> None:
    given = arrays("vectors")
    rounded = [(2 * given.x_train).round(), (2 * given.x_query).round()]
    linear = nn.Linear(6, 3)
    module = By(lambda s, x: s.a(x.float()), a=linear)
    found = []
    for kind in (torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool):
        x_train, x_query = (x.abs() if kind is torch.uint8 else x for x in rounded)
        data = given._replace(x_train=x_train.to(kind), x_query=x_query.to(kind))
        tensors, description = featurize(
            "representations", module, lambda _: module.state_dict(), 1, TASK, data, memory_mib=100
        )
        times = CheckpointTimes([1], [0.1], [1.0])
        represented = read_representations(description, tensors.__getitem__, data, 0, times)
        assert represented.at(1.0).train.dtype == torch.float32
        found.append(rps.attribute(data, represented, Workspace(), regularisation=0.1))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    assert all(scores.abs().max() > 0 for scores in found)


def test_jit_script() -> None:
    message = refusal(lambda: trained(lambda: torch.jit.script(net())))
    assert message.endswith("is compiled by torch.jit; return the Python module from the model factory")


def test_data_parallel_and_compiled_models_have_plain_names() -> None:
    plain = list(net().state_dict())
    for wrap in (nn.DataParallel, torch.compile, lambda m: nn.DataParallel(torch.compile(m))):
        assert list(trained(lambda wrap=wrap: wrap(net())).state_dict()) == plain
    compiled = net()
    compiled.compile()
    assert prepare_model(compiled)._compiled_call_impl is None


def test_lazy_linear() -> None:
    message = refusal(lambda: trained(lambda: nn.Sequential(nn.LazyLinear(3))))
    assert "'0' (LazyLinear) has no shape before its first pass; give it its number of inputs" in message


def test_sparse_embedding() -> None:
    sparse, dense = (
        trained(
            lambda sparse=sparse: By(
                lambda s, x: s.h(s.e(x).mean(1)), e=nn.Embedding(30, 5, sparse=sparse), h=nn.Linear(5, 3)
            ),
            "tokens",
        )
        for sparse in (True, False)
    )
    for name, value in dense.state_dict().items():
        assert torch.equal(value, sparse.state_dict()[name])


def test_checkpointing_changes_no_gradient() -> None:
    plain = trained(lambda: two(lambda s, x: s.b(s.a(x)))).state_dict()
    for key, value in trained(CASES["checkpointing"].make).state_dict().items():
        torch.testing.assert_close(value, plain[key])


def test_returns_dict() -> None:
    module = trained(CASES["a dictionary of outputs"].make)
    assert module(inputs("vectors")[0]).shape == (16, 3)
    assert prepare_model(prepare_model(module)) is module and len(module._forward_hooks) == 1
    copy.deepcopy(module)


def test_mm_by_keyword() -> None:
    x, y = inputs("vectors")
    for name in ("addmm by keyword", "addmm as a method", "mm, matmul and linear by keyword"):
        block, _ = target_gradients(CASES[name].make(), TASK, x, y)
        assert all(len(block.parameters[part.name]) == 1 for part in block.parts if hasattr(part, "values"))


def test_lora_of_a_plain_net_that_keeps_a_tensor() -> None:
    module = CASES["a tensor kept from the last pass"].make()
    module(inputs("vectors")[0])
    member = curvature(module)
    assert member.adapted(2, 1, 0.01, 0).train.n_parameters > 0
    assert member.dropped(0.5, 0).train.n_parameters == member.n_parameters
    module.lock = (number for number in range(3))
    assert "cannot be copied" in refusal(lambda: member.adapted(2, 1, 0.01, 0))


@pytest.mark.parametrize("name", ["bfloat16", "autocast"])
def test_bfloat16_is_rounding_in_lockstep_and_in_captured_gradients(name: str) -> None:
    make = CASES[name].make
    for run in (lambda: trained(make), lambda: target_gradients(builder(make)(0), TASK, *inputs("vectors"))):
        assert "computes in bfloat16, whose rounding (0.8%) hides the gradients" in refusal(run)


RECURRENT = [
    (kind, options)
    for kind in ("LSTM", "GRU", "RNN")
    for options in ({}, {"num_layers": 2, "bidirectional": True}, {"bias": False})
]


@pytest.mark.parametrize(("kind", "options"), [*RECURRENT, ("LSTM", {"proj_size": 2})])
def test_lstm_and_others_are_torchs_own(kind: str, options: dict[str, Any]) -> None:
    layer = getattr(nn, kind)(6, 5, batch_first=True, **options)
    x = inputs("sequences")[0]
    outputs, last = layer(x)
    with transformable():
        unrolled, final = layer(x)
    torch.testing.assert_close(unrolled, outputs)
    torch.testing.assert_close(final, last)


def test_logra_eigh() -> None:
    """Ten dead units leave rows of zeros in the second moments, on which float32's decomposition fails."""
    x, y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
        with torch.no_grad():
            module[0].bias[:10] = -100.0
        member = Curvature(module, TASK, x, y, x[:5], y[:5], weight_decay=0.0, duration=1.0)
        assert logra.attribute(At(member), Workspace()).isfinite().all()


def test_logra_eigh_of_a_damped_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    decompose = torch.linalg.eigh

    def fails(matrix: Tensor) -> Any:
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return decompose(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    matrix = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    solved = DampedSolver(matrix, (1.0, 2.0)).solve(torch.eye(2), 1.0)
    torch.testing.assert_close(solved, torch.linalg.inv(matrix + torch.eye(2)))


class At:
    """A network of one checkpoint."""

    member = 0

    def __init__(self, member: Curvature) -> None:
        self.found = member

    def at(self, checkpoint: float) -> Curvature:
        return self.found


@pytest.mark.parametrize("name", ["writes to its input", "clamps its input"])
def test_changes_its_input_even_if_twice_is_once(name: str) -> None:
    x, y = inputs("vectors")
    before = x.clone()
    message = refusal(lambda: train(builder(CASES[name].make), x, y, TASK, RECIPE, RUNS))
    assert message == "the model (By) changes its input in place; let it work on a copy"
    assert torch.equal(x, before)


def _noisy(self: nn.Module, x: Tensor) -> Tensor:
    return x * random.random()  # noqa: S311


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: nn.Sequential(net(), By(lambda s, x: x - x.mean(0))),
            r"layer '1' \(By\) mixes the examples",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 5), By(_noisy), nn.Linear(5, 3)),
            r"layer '1' \(By\) is random: .* numbers from random",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5).bfloat16(), nn.Linear(5, 3)),
            r"layer '1' \(Linear\) computes in bfloat16",
        ),
        (lambda: By(lambda s, x: s.a(x).log(), a=nn.Linear(6, 3)), r"outputs of an example \(row \d"),
    ],
    ids=["mixing", "random", "rounding", "nan"],
)
def test_a_diagnosis_names_the_layer_where_it_begins(model: Make, message: str) -> None:
    module = model()

    def run(x: Tensor) -> Tensor:
        for part in module if isinstance(module, nn.Sequential) else [module]:
            x = part(x.to(next(part.parameters(), x).dtype))
        return x

    x = inputs("vectors")[0]
    assert re.search(message, str(found := diagnose(module, run, x))), found


def test_a_diagnosis_draws_no_numbers_from_the_caller() -> None:
    module = By(lambda s, x: x * float(np.random.rand()) * random.random() + torch.randn(6))  # noqa: NPY002, S311
    torch.manual_seed(0)
    before = random.getstate(), torch.get_rng_state()
    assert random_generators_used(lambda: module(torch.ones(2, 6))) == ["random", "numpy.random", "torch"]
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_derivatives_that_do_not_agree_have_no_curvature_products() -> None:
    x, y = inputs("vectors")
    module = two(lambda s, x: s.b(torch.tanh(s.a(x)) + x @ s.c.data), c=weight(6, 5))
    member = Curvature(module, TASK, x, y, x, y, weight_decay=0.0, duration=1.0)
    message = refusal(lambda: member.hessian_product(torch.randn(1, member.n_parameters)))
    assert (
        "its Hessian is not symmetric, as with .data" in message
        or "forward and backward mode differ" in message
    )


def test_magic_does_not_blame_the_learning_rate_for_what_was_there_before() -> None:
    make = lambda: two(lambda s, x: s.b(torch.sqrt(s.a(x) * 0)))  # noqa: E731
    message = refusal(lambda: Replay(builder(make), TASK, RECIPE, Run(1, 2), arrays("vectors")))
    assert "NaN or infinite before any training" in message
