"""Arguments of tasks, tasks of one's own, and targets other than the task's own."""

from __future__ import annotations

import pytest
import torch
from torch.func import hessian, vmap
from torch.nn import functional as F

from proponent.config.model_schema import FactoryConfig, TaskConfig
from proponent.config.task_names import written_task
from proponent.errors import UserError
from proponent.settings import targets
from proponent.settings.split import Arrays
from proponent.settings.tasks import Classification, Regression, get_task
from proponent.settings.tasks.own_task import OwnTask

N = 6
WEIGHTS = [0.5, 2.0, 0.0, 1.0]
OPTIONS = {
    "class weights": TaskConfig("classification", {"class_weights": WEIGHTS}),
    "label smoothing": TaskConfig("classification", {"label_smoothing": 0.2}),
    "ignored label": TaskConfig("classification", {"ignore_index": -1}),
    "all of them": TaskConfig(
        "classification", {"class_weights": WEIGHTS, "label_smoothing": 0.1, "ignore_index": -1}
    ),
    "binary weights": TaskConfig("binary", {"class_weights": WEIGHTS[:2]}),
    "binary smoothing": TaskConfig("binary", {"label_smoothing": 0.2}),
    "unknown labels": TaskConfig("multi-label", {"ignore_index": -1}),
    "Huber": TaskConfig("huber", {"delta": 0.3}),
    "padding": TaskConfig("language-model", {"ignore_index": -1}),
    "sum over positions": TaskConfig("language-model", {"ignore_index": -1, "reduction": "sum"}),
}


def example(option: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs and labels in double precision."""
    generator = torch.Generator().manual_seed(0)
    name = OPTIONS[option].name

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def labels(classes: int, *shape: int) -> torch.Tensor:
        y = torch.randint(classes, shape, generator=generator)
        y.flatten()[1] = -1 if OPTIONS[option].args.get("ignore_index") == -1 else 0
        return y

    if name == "huber":
        return normal(N, 3), normal(N, 3)
    if name == "binary":
        return normal(N), labels(2, N)
    if name == "multi-label":
        return normal(N, 4), labels(2, N, 4)
    return (normal(N, 5, 4), labels(4, N, 5)) if name == "language-model" else (normal(N, 4), labels(4, N))


def of_torch(option: str, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the losses by torch's own functions."""
    args = dict(OPTIONS[option].args)
    weights = torch.tensor(args.pop("class_weights", []), dtype=torch.float64)
    match OPTIONS[option].name:
        case "huber":
            return F.huber_loss(outputs, y, reduction="none", delta=args["delta"]).sum(1)
        case "binary":
            smoothing = args.get("label_smoothing", 0.0)
            losses = F.binary_cross_entropy_with_logits(
                outputs, (1 - smoothing) * y.double() + smoothing / 2, reduction="none"
            )
            return losses * weights[y] if len(weights) else losses
        case "multi-label":
            losses = F.binary_cross_entropy_with_logits(outputs, y.clamp(min=0).double(), reduction="none")
            return torch.stack([row[label != -1].mean() for row, label in zip(losses, y, strict=True)])
        case "language-model":
            return torch.stack(
                [F.cross_entropy(row, label, **args) for row, label in zip(outputs, y, strict=True)]
            )
    smoothing = args.pop("label_smoothing", 0.0)
    losses = F.cross_entropy(outputs, y.clamp(min=0), label_smoothing=smoothing, reduction="none")
    if len(weights):  # torch weights every class of a smoothed label, not the example
        losses = losses * weights[y.clamp(min=0)]
    return torch.where(y == -1, 0, losses)


@pytest.mark.parametrize("option", OPTIONS)
def test_losses_are_those_of_torch_and_everything_else_follows_from_them(option):
    task = get_task(OPTIONS[option])
    outputs, y = example(option)
    torch.testing.assert_close(task.loss(outputs, y), of_torch(option, outputs, y))
    torch.testing.assert_close(task.precise_loss(outputs, y), task.loss(outputs, y))

    outputs.requires_grad_()
    (of_loss,) = torch.autograd.grad(task.loss(outputs, y).sum(), outputs)
    (of_base,) = torch.autograd.grad(task.base(outputs, y).sum(), outputs)
    weight = task.loss_weight(outputs, y).detach().reshape(-1, *[1] * (outputs.ndim - 1))
    torch.testing.assert_close(of_loss, -weight * of_base)

    outputs = outputs.detach()
    flat = outputs.reshape(N, -1)
    exact = vmap(hessian(lambda row, label: task.loss(row.reshape(1, *outputs.shape[1:]), label[None])[0]))(
        flat, y
    )
    root = task.output_hessian_root(outputs, y)
    if OPTIONS[option].name == "language-model":
        blocks = exact.reshape(N, 5, 4, 5, 4).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        exact = blocks
    torch.testing.assert_close(root.mT @ root, exact)
    torch.testing.assert_close(task.output_hessian(outputs, y), exact)
    combined = task.combined_root(outputs, y, lambda n, size: torch.ones(N, n, 1, size, dtype=root.dtype))
    torch.testing.assert_close(combined.flatten(), root.sum(-2).flatten())
    vector = torch.ones_like(outputs)
    torch.testing.assert_close(
        task.hessian_product(outputs, y, vector).reshape(*exact.shape[:-1]), exact.sum(-1)
    )


def test_weights_of_examples_multiply_the_loss_and_not_the_target():
    outputs, y = example("class weights")
    weight = torch.linspace(0, 2, N, dtype=torch.float64)
    task, data = Arrays(outputs, y, outputs, y, weight).weighted(Classification())
    plain = Classification()
    torch.testing.assert_close(task.loss(outputs, data.y_train), weight * plain.loss(outputs, y))
    torch.testing.assert_close(
        task.loss_weight(outputs, data.y_train), weight * plain.loss_weight(outputs, y)
    )
    torch.testing.assert_close(
        task.loss_curvature(outputs, data.y_train), weight * plain.loss_curvature(outputs, y)
    )
    assert torch.equal(task.target(outputs, data.y_query), plain.target(outputs, y))
    numbers = torch.randn(N, 4, dtype=torch.float64)
    task, data = Arrays(outputs, numbers, outputs, numbers, weight).weighted(Regression())
    torch.testing.assert_close(task.loss(outputs, data.y_train), weight * Regression().loss(outputs, numbers))


@pytest.mark.parametrize(
    "option, y, said",
    [
        ("class weights", torch.tensor([0, 4]), "has 4 weights, but there are 5 classes"),
        ("ignored label", torch.tensor([-1, -1]), "all labels are task.ignore_index"),
        ("binary weights", torch.tensor([0.0, 0.5]), "must be 0 or 1"),
        ("binary weights", torch.tensor([0, 2]), "label 2 is out of range for 2 classes"),
        ("unknown labels", torch.tensor([[0, 2]]), r"must hold 0 and 1 only, or task.ignore_index \(-1\)"),
        ("unknown labels", torch.tensor([[0, 1], [-1, -1]]), "row 1 has task.ignore_index"),
        ("unknown labels", torch.tensor([0, 1]), r"0 or 1 per label, \(examples, labels\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(option, y, said):
    with pytest.raises(UserError, match=said):
        get_task(OPTIONS[option]).check(y, "setting mine: train")


def test_a_query_with_an_ignored_label_is_refused():
    with pytest.raises(UserError, match=r"row 1 has the label task\.ignore_index"):
        get_task(OPTIONS["ignored label"]).check_queries(torch.tensor([0, -1]), "setting mine: query")


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.int64, torch.float64])
def test_labels_0_and_1_may_have_any_type(dtype):
    y = torch.tensor([1, 0, 1]).to(dtype)
    assert get_task("binary").check(y, "mine").tolist() == [1, 0, 1]
    assert get_task("multi-label").check(y[:, None], "mine").tolist() == [[1], [0], [1]]


def test_one_logit_is_pointed_to_the_binary_task_and_the_other_way_round():
    with pytest.raises(UserError, match="choose 'task: binary'"):
        get_task("classification").check_outputs(torch.zeros(2, 1), torch.tensor([0, 1]), "mine")
    with pytest.raises(UserError, match="choose 'task: classification'"):
        get_task("binary").check_outputs(torch.zeros(2, 2), torch.tensor([0, 1]), "mine")


class Focal:
    """A loss that is not convex in the outputs."""

    def loss(self, outputs, y):
        p = outputs.softmax(1).gather(1, y[:, None])[:, 0]
        return -((1 - p) ** 2) * p.log()

    def target(self, outputs, y):
        return outputs.gather(1, y[:, None])[:, 0]


class Margin(Focal):
    """A loss that is a function of the target, and a root of one's own."""

    def loss(self, outputs, y):
        return F.softplus(-self.target(outputs, y))

    def loss_weight(self, outputs, y):
        return torch.sigmoid(-self.target(outputs, y))

    def output_hessian_root(self, outputs, y):
        return torch.eye(outputs.shape[1]).to(outputs).expand(len(outputs), -1, -1)


def test_a_class_of_ones_own_needs_a_loss_and_a_target():
    task = get_task(f"{__name__}:Focal")
    outputs, y = example("class weights")
    outputs = 4 * outputs
    assert task.name == f"{__name__}:Focal"
    torch.testing.assert_close(task.base(outputs, y), -Focal().loss(outputs, y))
    assert torch.equal(task.loss_weight(outputs, y), torch.ones(N, dtype=torch.float64))
    exact = vmap(hessian(lambda row, label: task.loss(row[None], label[None])[0]))(outputs, y)
    values, vectors = torch.linalg.eigh(exact)
    assert values.min() < -1e-3
    positive = vectors @ torch.diag_embed(values.clamp_min(0)) @ vectors.mT
    torch.testing.assert_close(task.output_hessian(outputs, y), positive)
    vector = torch.randn(N, 4, dtype=torch.float64)
    torch.testing.assert_close(
        task.hessian_product(outputs, y, vector), torch.einsum("nij,nj->ni", positive, vector)
    )
    task.check_outputs(outputs, y, "setting mine: train")


def test_a_class_of_ones_own_may_give_weights_and_a_root():
    task = OwnTask(Margin(), "mine:Margin")
    outputs, y = example("class weights")
    assert torch.equal(task.base(outputs, y), task.target(outputs, y))
    torch.testing.assert_close(task.output_hessian(outputs, y), torch.eye(4).double().expand(N, 4, 4))
    task.check_outputs(outputs, y, "setting mine: train")


def test_the_curvature_of_a_loss_follows_from_the_weights_of_the_class():
    class Own:
        loss, target = Classification.loss, Classification.target
        loss_weight = Classification.loss_weight

    outputs, y = example("class weights")
    expected = Classification().loss_curvature(outputs, y)
    torch.testing.assert_close(OwnTask(Own(), "mine:Own").loss_curvature(outputs, y), expected)
    assert not OwnTask(Focal(), "mine:Focal").loss_curvature(outputs, y).any()

    class Hinge:
        def loss(self, outputs, y):
            return (1 - self.target(outputs, y)).relu()

        def target(self, outputs, y):
            return outputs.gather(1, y[:, None])[:, 0]

        def loss_weight(self, outputs, y):
            return self.target(outputs, y) < 1

    hinge = OwnTask(Hinge(), "mine:Hinge")
    hinge.check_outputs(outputs, y, "setting mine: train")
    with torch.no_grad():
        assert not hinge.loss_curvature(outputs, y).any()


def made(**methods):
    """Return an object of a class with these methods next to those of Focal."""
    return type("Mine", (Focal,), methods)()


@pytest.mark.parametrize(
    "own, said",
    [
        (type("Mine", (), {"loss": Focal.loss})(), r"Mine has no method target\(outputs, y\)"),
        (
            type("Mine", (), {"losses": Focal.loss, "target": Focal.target})(),
            "no method loss.*did you mean 'losses'",
        ),
    ],
)
def test_a_missing_method_is_named(own, said):
    with pytest.raises(UserError, match=said):
        OwnTask(own, "mine:Mine")


@pytest.mark.parametrize(
    "own, said",
    [
        (
            made(loss=lambda self, outputs, y: outputs.mean()),
            r"loss returned a tensor of shape \(\).*without the mean",
        ),
        (made(target=lambda self, outputs, y: outputs), r"target returned a tensor of shape \(6, 4\)"),
        (made(target=lambda self, outputs, y: 3), "target returned a int"),
        (made(loss=lambda self, outputs, y: outputs[:, 7]), "loss fails on outputs of the model"),
        (made(loss=lambda self, outputs, y: outputs[:, 0] - outputs.mean()), "depends on the other examples"),
        (made(loss_weight=lambda self, outputs, y: outputs[:, 0]), "gradient of loss is not -loss_weight"),
        (made(output_hessian_root=lambda self, outputs, y: outputs), r"return \(n, C, C\), here \(6, 4, 4\)"),
    ],
)
def test_a_wrong_method_is_named_before_training(own, said):
    outputs, y = example("class weights")
    with pytest.raises(UserError, match=said):
        OwnTask(own, "mine:Mine").check_outputs(outputs, y, "setting mine: train")


def test_a_chosen_target_changes_the_target_alone():
    outputs, y = example("class weights")
    factory = FactoryConfig("proponent.settings.targets:logit_difference", {"label": 2, "other": 0})
    task, plain = get_task("classification", factory), Classification()
    torch.testing.assert_close(task.target(outputs, y), outputs[:, 2] - outputs[:, 0])
    for name in ("loss", "base", "loss_weight", "loss_curvature", "output_hessian_root"):
        assert torch.equal(getattr(task, name)(outputs, y), getattr(plain, name)(outputs, y))


def test_a_chosen_target_is_not_tried_on_ignored_examples():
    task = get_task(OPTIONS["ignored label"], FactoryConfig("proponent.settings.targets:logit"))
    task.check_outputs(torch.zeros(2, 4), torch.tensor([2, -1, 3]), "setting mine: train")
    failing = get_task(OPTIONS["ignored label"], FactoryConfig("torch:exp"))
    with pytest.raises(UserError, match="fails on outputs of shape"):
        failing.check_outputs(torch.zeros(2, 4), torch.tensor([2, 1, -1]), "setting mine: train")


def test_targets_of_the_package():
    outputs, y = example("class weights")
    log_p = outputs.log_softmax(1)
    torch.testing.assert_close(targets.logit(outputs, y), outputs[torch.arange(N), y])
    torch.testing.assert_close(targets.logit(outputs, y, label=1), outputs[:, 1])
    torch.testing.assert_close(targets.log_probability(outputs, y), log_p[torch.arange(N), y])
    p = log_p.exp()[:, 3]
    torch.testing.assert_close(targets.log_odds(outputs, y, label=3), torch.log(p / (1 - p)))
    torch.testing.assert_close(targets.output(outputs[:, :1], y), outputs[:, 0])
    torch.testing.assert_close(targets.output(outputs[:, 0], y), outputs[:, 0])
    labels = torch.tensor([[0, 1]] * N)
    torch.testing.assert_close(targets.label_margin(outputs[:, :2], labels, label=0), -outputs[:, 0])
    torch.testing.assert_close(targets.label_margin(outputs[:, :2], labels, label=1), outputs[:, 1])
    labels[2, 1] = -1  # it is not known whether it applies
    assert targets.label_margin(outputs[:, :2], labels, label=1).isnan().tolist() == [
        row == 2 for row in range(N)
    ]


@pytest.mark.parametrize(
    "factory, said",
    [
        (FactoryConfig("proponent.settings.targets:logit", {"label": 4}), "target.args.label is 4"),
        (
            FactoryConfig("proponent.settings.targets:logits"),
            "has no function 'logits'; did you mean 'logit'",
        ),
        (FactoryConfig("torch:exp"), "fails on outputs of shape"),
        (FactoryConfig("torch:sub"), r"target 'torch:sub' returned a tensor of shape \(6, 4\)"),
    ],
)
def test_a_wrong_target_is_named_before_training(factory, said):
    outputs, y = example("class weights")
    with pytest.raises(UserError, match=said):
        get_task("classification", factory).check_outputs(outputs, y[:, None] if "sub" in said else y, "mine")


def test_a_task_is_a_name_or_a_mapping_with_one():
    assert written_task("binary", "x.yaml") == {"name": "binary", "args": {}}
    assert written_task({"name": "huber", "delta": 2.0}, "x.yaml") == {
        "name": "huber",
        "args": {"delta": 2.0},
    }
    with pytest.raises(UserError, match=r"x\.yaml: 'task' must be a name, or a mapping of 'name'"):
        written_task({"delta": 2.0}, "x.yaml")
