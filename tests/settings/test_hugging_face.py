"""Models of transformers in every engine, in float64: equal to ordinary training and to plain autograd."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import proponent
from features.models import target_gradients
from oracles.dense_model import outputs_of
from oracles.gradients import gradients_by_loop
from oracles.unrolling import differences
from proponent.config.recipe_schema import RecipeConfig
from proponent.errors import UserError
from proponent.features.curvature.member_curvature import Curvature
from proponent.methods.unrolling import magic
from proponent.rows import NamedRows, Rows
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task, get_task
from proponent.steps.io.stored_checkpoints import load_checkpoint
from proponent.store.tensors import save_tensors
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.replay import Replay
from proponent.training.stack import state_dict
from proponent.training.stages import epoch_order, stages_of

transformer_models = pytest.importorskip("settings.transformer_models", exc_type=ImportError)
ARCHITECTURES, N_TRAIN = transformer_models.ARCHITECTURES, transformer_models.N_TRAIN
RECIPE = RecipeConfig(lr=0.1, momentum=0.9, epochs=2, batch_size=4)
RUNS = [Run(1, 2), Run(3, 4)]
CASES = [(name, "sdpa") for name in ARCHITECTURES] + [
    (name, "eager") for name in ("bert", "gpt2", "llama", "vit", "bart")
]
Build = Callable[[int], nn.Module]


def arrays(name: str) -> Arrays:
    x, y = transformer_models.examples(name)
    return Arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:])


def ordinary(build: Build, run: Run, given: Arrays, task: Task) -> dict[str, Tensor]:
    """Return the state dict after ordinary training in the order of a run."""
    module = prepare_model(build(run.init_seed)).train()
    optimizer = torch.optim.SGD(
        [value for value in module.parameters() if value.requires_grad],
        lr=RECIPE.lr,
        momentum=RECIPE.momentum,
    )
    (stage,) = stages_of(RECIPE, run, len(given.x_train))
    for epoch in range(RECIPE.epochs):
        for batch in epoch_order(run, stage, epoch).split(RECIPE.batch_size):
            optimizer.zero_grad()
            task.loss(outputs_of(module, given.x_train[batch]), given.y_train[batch]).mean().backward()
            optimizer.step()
    return dict(module.state_dict())


def check_engines(build: Build, given: Arrays, task: Task, *, exact: bool) -> nn.Module:
    """Compare lockstep with ordinary training, and gradients and products with autograd; return the first model."""
    close = {"rtol": 1e-8, "atol": 1e-10} if exact else {"rtol": 1e-3, "atol": 1e-5}
    trained = train(build, given.x_train, given.y_train, task, RECIPE, RUNS)
    own = state_dict(trained.template, trained.state, 0)
    torch.testing.assert_close(own, ordinary(build, RUNS[0], given, task), **close)
    module = prepare_model(build(RUNS[0].init_seed))
    module.load_state_dict(own)
    block, _ = target_gradients(module, task, given.x_query, given.y_query)
    expected = gradients_by_loop(module, task.target, given.x_query, given.y_query)
    torch.testing.assert_close(block.dense(), expected, **close)
    member = Curvature(module, task, *given, weight_decay=0.0, duration=1.0)
    vectors = torch.randn(2, member.n_parameters, dtype=torch.float64)
    torch.testing.assert_close(
        member.hessian_product(vectors), hessian_products(module, given, task, vectors), **close
    )
    root = member.ggn_root().dense()
    torch.testing.assert_close(member.ggn_product(vectors), vectors @ root.T @ root / N_TRAIN, **close)
    assert member.kronecker(1, 0).eigenvalues.isfinite().all()
    assert member.adapted(2, 1, 0.01, 0).train.n_parameters > 0
    return module


def hessian_products(module: nn.Module, given: Arrays, task: Task, vectors: Tensor) -> Tensor:
    """Return products with the Hessian of the mean loss by two backward passes."""
    parameters = [value for value in module.eval().parameters() if value.requires_grad]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = task.loss(outputs_of(module, given.x_train), given.y_train).mean()
    options = {"allow_unused": True, "materialize_grads": True}
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, **options)
    slope = torch.cat([value.flatten() for value in slopes])
    rows = [
        torch.autograd.grad(slope @ vector, parameters, retain_graph=True, **options) for vector in vectors
    ]
    return torch.stack([torch.cat([value.flatten() for value in row]) for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_a_model_of_transformers_works_in_every_engine(name: str, attention: str) -> None:
    case = ARCHITECTURES[name]
    build = transformer_models.builder(lambda: transformer_models.model_of_ids(name, attention))
    task = get_task(case.task)
    check_engines(build, arrays(name), task, exact=not case.casts)
    scores = magic.attribute(Replay(build, task, RECIPE, RUNS[0], arrays(name)))
    assert scores.isfinite().all() and float(scores.abs().max()) > 0


@pytest.mark.parametrize("name", ["bert", "bert masked", "gpt2", "bart"])
def test_replays_are_the_derivatives_of_whole_trainings(name: str) -> None:
    build = transformer_models.builder(lambda: transformer_models.model_of_ids(name))
    given, task = arrays(name), get_task(ARCHITECTURES[name].task)
    found = magic.attribute(Replay(build, task, RECIPE, RUNS[0], given))
    expected = differences(lambda seed: prepare_model(build(seed)), given, RECIPE, RUNS[0], task)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def padded(ids: Tensor, columns: int, *, left: bool = False) -> Rows:
    """Return token numbers with columns of padding, their mask and their positions, as a model's keyword arguments."""
    fill, ones = ids.new_zeros(len(ids), columns), torch.ones_like(ids)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    parts = {"input_ids": ids, "attention_mask": ones, "position_ids": positions}
    order = (lambda part: [fill, part]) if left else (lambda part: [part, fill])
    return NamedRows({key: torch.cat(order(part), 1) for key, part in parts.items()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("bert", False),
        ("roberta", False),
    ]  # they pool the first position, which padding to the left would move
    + [(name, left) for name in ("gpt2", "gpt2 classes", "llama", "qwen2") for left in (False, True)],
)
def test_padding_that_is_masked_changes_no_score(name: str, left: bool) -> None:
    """Inputs are a dictionary, as a tokenizer returns it."""
    case = ARCHITECTURES[name]
    ids = torch.randint(2, 20, (8, 4), generator=torch.Generator().manual_seed(1))
    y = transformer_models.labels(ids, case.task)
    found = []
    for columns in (0, 3):
        labels = y
        if y.ndim == 2:
            fill = y.new_full((len(y), columns), -100)
            labels = torch.cat([fill, y] if left else [y, fill], 1)
        x = padded(ids, columns, left=left)
        given = Arrays(x[:6], labels[:6], x[6:], labels[6:])
        found.append(scores(transformer_models.builder(case.make), given, get_task(case.task)))
    for plain, with_padding in zip(*found, strict=True):
        close = {"rtol": 1e-3, "atol": 1e-6} if case.casts else {"rtol": 1e-7, "atol": 1e-10}
        torch.testing.assert_close(with_padding, plain, **close)


def scores(build: Build, given: Arrays, task: Task) -> list[Tensor]:
    """Return the scores of GradDot after training, products with the curvature, and those of MAGIC."""
    trained = train(build, given.x_train, given.y_train, task, RECIPE, RUNS)
    module = prepare_model(build(RUNS[0].init_seed))
    module.load_state_dict(state_dict(trained.template, trained.state, 0))
    member = Curvature(module, task, *given, weight_decay=0.0, duration=1.0)
    gradients = member.query.dense()
    return [
        member.query.inner(member.train),
        member.ggn_product(gradients) @ gradients.T,
        magic.attribute(Replay(build, task, RECIPE, RUNS[0], given)),
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bert", {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}),
        ("gpt2", {"task_type": "CAUSAL_LM", "target_modules": ["c_attn"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["c_attn"], "use_dora": True, "modules_to_save": ["lm_head"]}),
        ("llama", {"target_modules": "all-linear", "use_rslora": True}),
    ],
    ids=["bert", "gpt2", "gpt2 with a trained head, DoRA", "llama"],
)
def test_only_adapters_are_trained_and_attributed(name: str, options: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    case = ARCHITECTURES[name]
    torch.manual_seed(7)
    pretrained = case.make().state_dict()

    def make() -> nn.Module:
        model = case.make()
        model.load_state_dict(pretrained)
        return peft.get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False, **options))

    build, task, given = transformer_models.builder(make), get_task(case.task), dictionary(name)
    module = check_engines(build, given, task, exact=not case.casts)
    trained = [key for key, value in module.named_parameters() if value.requires_grad]
    assert trained and all("lora" in key or "modules_to_save" in key for key in trained)
    assert set(target_gradients(module, task, given.x_query, given.y_query)[0].parameters) == set(trained)
    if options.get("use_dora"):  # DoRA takes norms of weights as constants
        with pytest.raises(UserError, match=r"uses parameters behind \.detach"):
            Replay(build, task, RECIPE, RUNS[0], given)
        return
    replayed = Replay(build, task, RECIPE, RUNS[0], given)
    assert set(replayed.model.shapes) == set(trained)
    assert magic.attribute(replayed).isfinite().all()


def dictionary(name: str) -> Arrays:
    """Return data whose inputs are token numbers and their mask."""
    given = arrays(name)
    x = [
        NamedRows({"input_ids": ids, "attention_mask": (ids != 0).long()})
        for ids in (given.x_train, given.x_query)
    ]
    return Arrays(x[0], given.y_train, x[1], given.y_query)


def test_a_checkpoint_of_adapters_leaves_frozen_weights_out(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    case, given = ARCHITECTURES["bert"], dictionary("bert")
    torch.manual_seed(7)
    pretrained = case.make().state_dict()

    def make() -> nn.Module:
        model = case.make()
        model.load_state_dict(pretrained)
        return peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))

    build = transformer_models.builder(make)
    found = train(build, given.x_train, given.y_train, get_task(case.task), RECIPE, RUNS, checkpoints=[2])
    own = state_dict(found.template, found.checkpoints[2], 1, whole=False)
    save_tensors(tmp_path / "step-000002.safetensors", own)
    save_tensors(tmp_path / "final.safetensors", state_dict(found.template, found.state, 1))
    assert all("lora" in key or "classifier.modules_to_save" in key for key in own)
    read = load_checkpoint(tmp_path, [2, 4], 0)
    assert list(read) and set(read) == set(state_dict(found.template, found.state, 1))
    for key, value in state_dict(found.template, found.checkpoints[2], 1).items():
        assert torch.equal(read[key], value)


def test_attention_draws_its_dropout_masks_from_the_generator_of_the_model() -> None:
    """Padding to the left of a causal model leaves positions that may attend to nothing."""
    case = ARCHITECTURES["gpt2"]
    options = {**case.options, "attn_pdrop": 0.3}
    ids = torch.randint(2, 20, (8, 4), generator=torch.Generator().manual_seed(1))
    x = padded(ids, 2, left=True)
    y = torch.cat([ids.new_full((8, 2), -100), ids], 1)
    build = transformer_models.builder(dataclasses.replace(case, options=options).make)
    together, alone = (
        train(build, x, y, get_task("language-model"), RECIPE, runs).state for runs in (RUNS, RUNS[:1])
    )
    for name, value in alone.items():
        assert value.isfinite().all()
        torch.testing.assert_close(together[name][:1], value, rtol=1e-8, atol=1e-10)


def test_a_trained_model_is_attributed_from_python() -> None:
    case, given = ARCHITECTURES["bert"], dictionary("bert")
    module = transformer_models.builder(case.make)(0)
    train_set, queries = (given.x_train.tensors, given.y_train), (given.x_query.tensors, given.y_query)
    found = proponent.Attributor("gradcos", module, train_set).attribute(queries)
    task = get_task(case.task)
    block, _ = target_gradients(module, task, given.x_train, given.y_train)
    query, _ = target_gradients(module, task, given.x_query, given.y_query)
    rows = [one.dense() / one.dense().norm(dim=1, keepdim=True) for one in (query, block)]
    torch.testing.assert_close(found, (rows[0] @ rows[1].T).float(), rtol=1e-4, atol=1e-6)


def test_checkpointing_of_transformers_is_refused_with_the_call_to_leave_out() -> None:
    case, given = ARCHITECTURES["bert"], dictionary("bert")

    def make() -> nn.Module:
        model = case.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable()
        return model

    with pytest.raises(UserError, match=r"leave gradient_checkpointing_enable\(\) out of the model factory"):
        train(
            transformer_models.builder(make),
            given.x_train,
            given.y_train,
            get_task(case.task),
            RECIPE,
            RUNS,
        )
