"""Models and data as people have them, given to :class:`proponent.Attributor`."""

from __future__ import annotations

import subprocess
import sys
from collections import UserDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, TensorDataset

import proponent
from proponent.errors import UserError
from proponent.notes import Note
from proponent.trained import given_data
from proponent.trained.given_models import state_of


def data(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return torch.randn(n, 4, generator=generator) + 1.5 * torch.eye(3, 4)[y], y


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


TRAIN, QUERIES = data(40, 1), data(6, 2)
METHODS = ("graddot", "trak", "if-cg", "ekfac", "dualda", "knn-shapley")


def scores_of(method: str, train=TRAIN, model: nn.Module | None = None, **params) -> Tensor:
    return proponent.Attributor(method, model or net(), train, **params).attribute(QUERIES)


def test_graddot_is_the_inner_product_of_autograd_gradients():
    model = net().double()
    found = proponent.Attributor("graddot", model, TRAIN).attribute(QUERIES)

    def gradient(x: Tensor, y: Tensor, value) -> Tensor:
        outputs = model(x[None].double())[0]
        slopes = torch.autograd.grad(value(outputs, y), list(model.parameters()))
        return torch.cat([slope.flatten() for slope in slopes])

    def margin(outputs: Tensor, y: Tensor) -> Tensor:
        p = outputs.softmax(0)[y]
        return torch.log(p / (1 - p))

    def minus_loss(outputs: Tensor, y: Tensor) -> Tensor:
        return outputs.log_softmax(0)[y]

    train = torch.stack([gradient(x, y, minus_loss) for x, y in zip(*TRAIN, strict=True)])
    query = torch.stack([gradient(x, y, margin) for x, y in zip(*QUERIES, strict=True)])
    torch.testing.assert_close(found, (query @ train.T).float())


@pytest.mark.parametrize("method", METHODS)
def test_queries_may_come_in_several_calls(method):
    tolerance = (
        0.01 if method == "if-cg" else 1e-5
    )  # conjugate gradients stop when a block of queries has converged
    attributor = proponent.Attributor(method, net(), TRAIN)
    whole = attributor.attribute(QUERIES)
    x, y = QUERIES
    parts = [attributor.attribute((x[rows], y[rows])) for rows in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=tolerance * float(whole.abs().max()))


def test_what_depends_on_the_training_set_is_computed_once(monkeypatch):
    made = []
    decompose = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda *a, **k: made.append(1) or decompose(*a, **k))
    plain = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda *a, **k: made.append(1) or plain(*a, **k))
    attributor = proponent.Attributor("trak", net(), TRAIN)
    attributor.attribute(QUERIES)
    after_first = len(made)
    assert after_first
    attributor.attribute(data(3, 5))
    assert len(made) == after_first


@pytest.mark.parametrize("method", ["logra", "trackstar", "grass", "factgrass"])
def test_projections_of_the_training_set_are_decomposed_once(monkeypatch, method):
    made = []
    decompose = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda *a, **k: made.append(1) or decompose(*a, **k))
    attributor = proponent.Attributor(method, net(), TRAIN)
    x, y = QUERIES
    parts = [attributor.attribute((x[rows], y[rows])) for rows in (slice(0, 2), slice(2, 6))]
    after = len(made)
    assert after
    whole = attributor.attribute(QUERIES)
    assert len(made) == after
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_model_is_not_changed():
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores_of("ekfac", model=model)
    assert model.training
    assert not model._forward_hooks
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("method", ["graddot", "trak", "if-cg"])
def test_a_model_in_bfloat16_is_attributed_in_float32(method):
    model = net().bfloat16()
    expected = scores_of(method, model=net().bfloat16().float())
    torch.testing.assert_close(scores_of(method, model=model), expected)
    assert model[0].weight.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrappers_of_a_model_are_taken_off(wrap):
    expected = scores_of("graddot")
    assert torch.equal(scores_of("graddot", model=wrap(net())), expected)
    assert torch.equal(scores_of("graddot", model=wrap(net(1)), models=[wrap(net())]), expected)


def test_given_models_keep_the_numbers_that_the_work_is_done_in():
    exact = scores_of("graddot", model=net().double())
    found = scores_of("graddot", model=net().bfloat16(), models=[net()])
    assert torch.equal(found, scores_of("graddot"))
    assert torch.equal(scores_of("graddot", models=[net().double()], dtype=torch.float64), exact)


class Noisy(TensorDataset):
    """Rows that differ each time."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.randn(4), y


def test_a_loader_of_random_rows_is_refused():
    with pytest.raises(
        UserError, match="train: the first batch of this DataLoader differs between two reads"
    ):
        scores_of("graddot", DataLoader(Noisy(*TRAIN), batch_size=16))
    rows = [{"x": x, "note": "a text", "y": y} for x, y in TensorDataset(*TRAIN)]
    assert not given_data._equal(*(next(iter(DataLoader(Noisy(*TRAIN)))) for _ in range(2)))
    assert given_data._equal(*(UserDict(next(iter(DataLoader(rows)))) for _ in range(2)))


def test_forms_of_the_training_set_give_the_same_scores():
    expected = scores_of("graddot")
    x, y = TRAIN
    forms = {
        "arrays": (x.numpy(), y.numpy()),
        "dictionary": {"x": x, "y": y},
        "dataset": TensorDataset(x, y),
        "loader": DataLoader(TensorDataset(x, y), batch_size=16),
    }
    for name, form in forms.items():
        torch.testing.assert_close(scores_of("graddot", form), expected, msg=name)


def test_a_shuffled_loader_is_refused():
    loader = DataLoader(TensorDataset(*TRAIN), batch_size=16, shuffle=True)
    with pytest.raises(
        UserError, match=r"train: this DataLoader may draw examples in another order.*shuffle=False"
    ):
        scores_of("graddot", loader)


class Backwards(BatchSampler):
    """Batches from the last to the first."""

    def __iter__(self):
        return reversed(list(super().__iter__()))


class Stream(IterableDataset):
    """The training examples, without indices."""

    def __iter__(self):
        return iter(zip(*TRAIN, strict=True))


def test_loaders_whose_order_is_known_and_others():
    rows = TensorDataset(*TRAIN)
    expected = scores_of("graddot")
    for loader in (DataLoader(rows, batch_size=None), DataLoader(Stream(), batch_size=7)):
        torch.testing.assert_close(scores_of("graddot", loader), expected)
    refused = {
        "RandomSampler": DataLoader(rows, batch_size=None, shuffle=True),
        "Backwards": DataLoader(rows, batch_sampler=Backwards(SequentialSampler(rows), 16, False)),
        "drop_last": DataLoader(rows, batch_size=16, drop_last=True),
    }
    for reason, loader in refused.items():
        with pytest.raises(UserError, match=f"train: this DataLoader .*{reason}"):
            scores_of("graddot", loader)


@pytest.mark.parametrize(
    ("queries", "reason"),
    [
        (
            (QUERIES[0][:, :3], QUERIES[1]),
            r"queries: 'x' has rows of shape \(3,\), and those of train .* \(4,\)",
        ),
        ((QUERIES[0], QUERIES[1] + 3), "queries: label 5 is out of range for 3 classes"),
        (
            (QUERIES[0][0], QUERIES[1][0]),
            r"queries: the label is a single number; .*\(x\[None\], y\[None\]\)",
        ),
        ({"a": QUERIES[0], "y": QUERIES[1]}, "queries: the inputs are a, and those of train are x"),
        ((QUERIES[0].long(), QUERIES[1]), "queries: 'x' is torch.int64, and that of train torch.float32"),
        ((QUERIES[0] / 0, QUERIES[1]), "queries: x holds NaN or infinite numbers in 6 rows"),
        (
            (QUERIES[0][:0], QUERIES[1][:0]),
            "queries: there are 0 inputs and 0 labels; give one label per example",
        ),
        ((QUERIES[0], QUERIES[1] - 1), "queries: label -1 is negative"),
        (QUERIES[0], r"queries: row 0 must be a pair \(x, y\), not a Tensor"),
        (None, "queries: must be a pair"),
    ],
    ids=["shape", "label", "single", "names", "type", "finite", "empty", "negative", "no labels", "none"],
)
def test_queries_that_do_not_fit_are_one_line(queries, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        proponent.Attributor("graddot", net(), TRAIN).attribute(queries)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"models": "weights.pt"}, "models must be a list, not a str"),
        ({"models": net().state_dict()}, "models must be a list, not a OrderedDict"),
        ({"checkpoints": "weights.pt"}, "checkpoints must be a list"),
        ({"device": "cuda:97"}, "device 'cuda:97' cannot be used"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        (
            {"momentum": 1.0, "checkpoints": [(net(), 0.1)]},
            "momentum must be at least 0 and below 1, not 1.0",
        ),
        ({"dtype": torch.float16}, "dtype must be torch.float32 or torch.float64, not torch.float16"),
        ({"dtype": "float64"}, "dtype must be torch.float32 or torch.float64, not float64"),
        ({"device": [1]}, r"device '\[1\]' cannot be used"),
        ({"models": []}, "models is an empty list; give at least one"),
        ({"models": [3]}, "a trained model must be a module, a state dict or the path of one, not a int"),
        ({"checkpoints": []}, "checkpoints is an empty list"),
        (
            {"checkpoints": [(net(), "a")]},
            r"checkpoints\[0\]: the learning rate must be a finite number .*not 'a'",
        ),
        (
            {"checkpoints": [(net(), -1.0)]},
            "the learning rate must be a finite number of at least 0, not -1.0",
        ),
        ({"checkpoints": [(net(), 0.1, "a")]}, "the number of steps must be an integer, not 'a'"),
        ({"momentum": "a"}, "momentum must be at least 0 and below 1, not 'a'"),
        ({"weight_decay": float("nan")}, "weight_decay must be a finite number of at least 0, not nan"),
        ({"memory_mib": "4"}, "memory_mib must be a whole number of MiB of at least 1, not '4'"),
        ({"memory_mib": 0}, "memory_mib must be a whole number of MiB of at least 1, not 0"),
        ({"memory_mib": 1}, "method 'graddot' needs 3 MiB of memory and memory_mib is 1: raise it to 3"),
        ({"cache": 3}, "cache must be the path of a folder, not a int"),
        ({"method": 3}, r"method must be the name of a method, not a int; proponent\.methods"),
        ({"task": None}, "NoneType has no method loss"),
        ({"train": "data.csv"}, "train: must be a pair"),
        ({"train": (TRAIN[0][:0], TRAIN[1][:0])}, "train: there are 0 inputs and 0 labels"),
        ({"train": (TRAIN[0], TRAIN[1] + 3)}, "train: label 5 is out of range for 3 classes"),
        ({"model": nn.Flatten()}, "has no parameters"),
        ({"model": "model.pt"}, "model must be a torch.nn.Module, not a str"),
    ],
)
def test_arguments_of_another_kind_are_one_line(given, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        scores_of(**{"method": "graddot", **given})
    assert "\n" not in str(refusal.value)


def test_several_models_are_averaged_from_modules_state_dicts_and_files(tmp_path):
    nets = [net(seed) for seed in range(3)]
    save_file(nets[1].state_dict(), tmp_path / "one.safetensors")
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in nets[2].state_dict().items()}}, tmp_path / "two.ckpt"
    )
    given = [nets[0], nets[1].state_dict(), tmp_path / "two.ckpt"]
    expected = torch.stack([scores_of("graddot", model=each) for each in nets]).mean(0)
    torch.testing.assert_close(scores_of("graddot-3", models=given), expected)
    torch.testing.assert_close(scores_of("graddot", models=given), expected)
    given[1] = tmp_path / "one.safetensors"
    torch.testing.assert_close(scores_of("graddot-3", models=given), expected)


def test_names_that_do_not_match_name_the_nearest(tmp_path):
    state = net().state_dict()
    state["0.wieght"] = state.pop("0.weight")
    with pytest.raises(UserError, match=r"has no '0\.weight' .*nearest name there is '0\.wieght'"):
        scores_of("graddot", models=[state])
    with pytest.raises(UserError, match="there is no such file"):
        scores_of("graddot", models=[tmp_path / "missing.safetensors"])


def test_tied_tensors_that_a_file_has_once_are_found(tmp_path):
    def tied(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    once = {name: value for name, value in tied(1).state_dict().items() if name != "0.weight"}
    save_file(once, tmp_path / "m.safetensors")
    found = state_of(tmp_path / "m.safetensors", tied(0))
    assert torch.equal(found["0.weight"], found["2.weight"])
    assert torch.equal(found["0.weight"], tied(1)[0].weight)


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save(net(), tmp_path / "whole.pt")
    with pytest.raises(UserError, match=r"whole\.pt: cannot be read as tensors"):
        scores_of("graddot", models=[tmp_path / "whole.pt"])


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("trak-10", "needs 10 models, and there are 1; give models"),
        ("tracin", "needs checkpoints along the training; give checkpoints"),
        ("source", "needs checkpoints along the training"),
        ("datamodels", "needs retrainings on subsets"),
        ("magic", "needs a recipe"),
        ("trakk", "no method 'trakk'; did you mean 'trak'"),
    ],
)
def test_what_a_method_lacks_is_one_line(method, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        scores_of(method)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("method", ["dualda", "knn-shapley"])
def test_methods_of_classes_refuse_ignored_labels(method):
    task = {"name": "classification", "ignore_index": -100}
    with pytest.raises(UserError, match="is for classification, not for classification with ignore_index"):
        scores_of(method, task=task)


@pytest.mark.parametrize("method", ["bm25", "tfidf"])
def test_methods_of_texts_refuse_other_inputs(method):
    with pytest.raises(UserError, match=f"method '{method}': train: a text needs token numbers"):
        scores_of(method)


def test_probabilities_in_place_of_logits_are_noted():
    with pytest.warns(Note, match="outputs look like probabilities: all in .* and rows sum to 1"):
        scores_of("graddot", model=nn.Sequential(net(), nn.Softmax(-1)))


def test_an_unknown_hyper_parameter_names_the_nearest():
    with pytest.raises(UserError, match="unknown key 'dampng'; did you mean 'damping'"):
        scores_of("trak", dampng=1.0)


def test_top_gives_the_strongest_first():
    attributor = proponent.Attributor("trak", net(), TRAIN)
    scores = attributor.attribute(QUERIES).numpy()
    indices, values = attributor.top(QUERIES, k=5)
    assert np.array_equal(indices.numpy(), np.argsort(-scores, axis=1)[:, :5])
    assert np.array_equal(values.numpy(), -np.sort(-scores, axis=1)[:, :5])
    worst = attributor.top(QUERIES, k=1, opponents=True)
    assert np.array_equal(worst.indices.numpy()[:, 0], scores.argmin(1))
    with pytest.raises(
        UserError, match="k must be between 1 and the number of training examples, 40, not 41"
    ):
        attributor.top(QUERIES, k=41)


@pytest.mark.slow
def test_importing_the_package_imports_neither_torch_nor_a_workflow():
    for first, unwanted in (("", ["torch"]), ("proponent.Attributor; ", [])):
        found = f"[name for name in {[*unwanted, 'snakemake', 'dvc', 'mlflow']} if name in sys.modules]"
        code = f"import proponent, sys; {first}print({found})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("method", ["graddot", "trak", "ekfac", "if-exact"])
def test_float64_on_request(method):
    """A model in float64, and a float32 model with ``dtype=torch.float64``, give the same scores."""
    whole = scores_of(method, model=net().double())
    torch.testing.assert_close(scores_of(method, dtype=torch.float64), whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(scores_of(method), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


class Squared:
    """A task of one's own: squared error of the probability of the label."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (1 - outputs.softmax(1).gather(1, y[:, None])[:, 0]) ** 2

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        return outputs.gather(1, y[:, None])[:, 0]


@pytest.mark.parametrize("task", [Squared, Squared()], ids=["class", "instance"])
def test_a_task_of_ones_own(task):
    model = net().double()
    found = proponent.Attributor("graddot", model, TRAIN, task=task).attribute(QUERIES)

    def gradients(value, data) -> Tensor:
        rows = []
        for x, y in zip(*data, strict=True):
            slopes = torch.autograd.grad(value(model(x[None].double()), y[None])[0], list(model.parameters()))
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        return torch.stack(rows)

    expected = gradients(Squared().target, QUERIES) @ -gradients(Squared().loss, TRAIN).T
    torch.testing.assert_close(found, expected.float())


def test_a_task_with_arguments_and_one_that_does_not_exist():
    smooth = scores_of("graddot", task={"name": "classification", "label_smoothing": 0.2})
    assert not torch.allclose(smooth, scores_of("graddot"))
    with pytest.raises(UserError, match="unknown task 'clasification'; did you mean 'classification'"):
        scores_of("graddot", task="clasification")


def test_weights_of_examples_multiply_their_losses():
    x, y = TRAIN
    weight = torch.linspace(0.5, 2, len(x))
    weighted = {"x": x, "y": y, "weight": weight}
    torch.testing.assert_close(scores_of("graddot", weighted), scores_of("graddot") * weight)
    torch.testing.assert_close(scores_of("ekfac", weighted).shape, scores_of("ekfac").shape)
    torch.testing.assert_close(scores_of("knn-shapley", weighted), scores_of("knn-shapley"))


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_weights_that_no_loss_has_are_refused(wrong):
    weights = torch.ones(40)
    weights[3] = wrong
    with pytest.raises(UserError, match="train: weight must hold finite numbers that are not negative"):
        scores_of("graddot", {"x": TRAIN[0], "y": TRAIN[1], "weight": weights})


def test_a_query_whose_label_is_ignored_is_refused():
    task = {"name": "classification", "ignore_index": -100}
    with pytest.raises(UserError, match="queries: row 2 has the label task"):
        proponent.Attributor("graddot", net(), TRAIN, task=task).attribute(
            (QUERIES[0], torch.where(torch.arange(6) == 2, -100, QUERIES[1]))
        )


def test_short_work_shows_no_progress(capfd):
    scores_of("if-cg")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("k", [0, 41, 2.5, "a"])
def test_top_refuses_other_numbers_than_those_of_examples(k):
    with pytest.raises(UserError, match="k must be between 1 and the number of training examples, 40, not"):
        proponent.Attributor("graddot", net(), TRAIN).top(QUERIES, k=k)


def test_top_returns_as_many_examples_as_asked_for_where_scores_are_equal():
    same = (TRAIN[0][:1].expand(5, 4), TRAIN[1][:1].expand(5))
    indices, values = proponent.Attributor("graddot", net(), same).top(QUERIES, k=5)
    assert indices.sort(1).values.tolist() == [list(range(5))] * len(QUERIES[1])
    torch.testing.assert_close(values, values[:, :1].expand_as(values))


def test_models_whose_weights_no_gradient_reaches_are_refused():
    quantised = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)
    for model, reason in (
        (quantised, "has no parameters, so that there is nothing to attribute"),
        (net().requires_grad_(False), "the model has no trainable parameter"),
        (net().to(torch.complex64), "the model's parameter '0.weight' is complex"),
        (net().to("meta"), "the model's '0.weight' has no values"),
    ):
        with pytest.raises(UserError, match=reason):
            scores_of("graddot", model=model)


def test_a_model_in_train_mode_is_attributed_in_eval_mode():
    model = nn.Sequential(net(), nn.Dropout(0.5)).train()
    torch.testing.assert_close(scores_of("graddot", model=model), scores_of("graddot"))


def test_outputs_that_are_not_finite_are_one_line():
    broken = net()
    broken[0].weight.data[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"the outputs of an example .* are NaN or infinite") as refusal:
        scores_of("graddot", model=broken)
    assert "\n" not in str(refusal.value)
