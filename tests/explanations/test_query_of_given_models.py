"""``proponent query`` for models that were trained elsewhere: nothing is retrained, and every form of input is answered."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import proponent
from proponent.commands.query_command import query_command
from proponent.settings.models import mlp
from steps.planned_jobs import make, one_setting

METHODS = ("dualda", "graddot", "trak", "ekfac")
FACTORIES = '''"""Small digits, and texts of six words."""

import torch
from sklearn.datasets import load_digits

from proponent.settings import Split

NAMES = ["[PAD]", "[UNK]", "good", "bad", "film", "very", "not", "the"]


def thumbnails():
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).unflatten(1, (4, 2, 4, 2)).mean((2, 4)).flatten(1)
    y = torch.tensor(y)
    return Split(train=(x[:80], y[:80]), query=(x[80:100], y[80:100]), image_shape=(4, 4))


def opinions():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randint(4, 8, (60, 6), generator=generator)
    x[:, 2] = 3 - y
    x[:, 5] = 0
    return Split(
        train=(x[:50], y[:50]), query=(x[50:], y[50:]), class_names=["bad", "good"], token_names=NAMES
    )


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(8, 6), torch.nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.table(x).mean(1))
'''
SETTINGS = {
    "lab": {
        "dataset": {"factory": "lab_factories:thumbnails"},
        "model": {
            "factory": "proponent.settings.models:mlp",
            "args": {"n_features": 16, "hidden": [8], "n_classes": 10},
        },
    },
    "lab-texts": {
        "dataset": {"factory": "lab_factories:opinions"},
        "model": {"factory": "lab_factories:Words"},
        "inputs": "tokens",
    },
}
COMMON = {
    "task": "classification",
    "queries": {"tune": 2, "test": 8},
    "training": {"optimizer": "sgd", "weight_decay": 0.001},
}
PARAMS = f"methods: [{', '.join(METHODS)}]\nmetrics: []\n"
STEPS = ("adopt_models", "check", "featurize", "attribute")


def train(model: nn.Module, data: dict[str, torch.Tensor], path: Path) -> None:
    """Train a model by an ordinary loop, and save it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.001)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data["x"]), data["y"]).backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout with scores of two models that were brought trained; it is the current directory."""
    root = tmp_path_factory.mktemp("given") / "checkout"
    first = yaml.safe_dump({**SETTINGS["lab"], **COMMON, "ensemble": {"files": ["lab.pt"]}})
    with one_setting(root, "lab", first, FACTORIES, PARAMS) as plan:
        texts = {**SETTINGS["lab-texts"], **COMMON, "ensemble": {"files": ["lab-texts.pt"]}}
        (root / "configs/settings/lab-texts.yaml").write_text(yaml.safe_dump(texts))
        params = (root / "params.yaml").read_text()
        (root / "params.yaml").write_text(params.replace("[lab]", "[lab, lab-texts]"))
        torch.manual_seed(0)
        for name in SETTINGS:  # before the plan, which reads the files
            torch.save({}, root / f"{name}.pt")
        make(root, plan(), "data")
        models = {
            "lab": mlp(16, [8], 10),
            "lab-texts": sys.modules["lab_factories"].Words(),
        }
        for name, model in models.items():
            train(model, load_file(root / f"results/{name}/data/train.safetensors"), root / f"{name}.pt")
        nodes = plan()
        for step in STEPS:
            make(root, nodes, step)
        query = load_file(root / "results/lab/data/query.safetensors")
        pixels = (query["x"][3].view(4, 4) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(root / "new.png")
        save_file({"x": query["x"][3]}, root / "new.safetensors")
        rows = "\n".join(",".join(f"{value:.6f}" for value in row) for row in query["x"][:2].tolist())
        (root / "new.csv").write_text(f"{','.join(f'p{place}' for place in range(16))}\n{rows}\n")
        yield root


def ask(root: Path, *arguments: str):
    done = CliRunner().invoke(query_command(lambda: root), list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "form", [("--query", "3"), ("--image", "new.png"), ("--tensor", "new.safetensors"), ("--file", "new.csv")]
)
def test_every_form_of_input_is_explained_without_a_retraining(made, monkeypatch, method, form):
    monkeypatch.chdir(made)
    assert not (made / "results/lab/ground_truth").exists()
    printed = ask(made, "-s", "lab", "-m", method, *form, "--top", "3")
    assert printed.count("proponents") == (2 if form[0] == "--file" else 1)
    assert "Examples that carry the absolute score" in printed
    assert "scored and explained in" in printed


def test_an_image_and_a_tensor_of_the_same_query_have_its_explanation(made, monkeypatch):
    monkeypatch.chdir(made)
    results = proponent.open("results/lab")
    explainer = proponent.Explainer(results.attributor("graddot"))
    (found,) = explainer.explain(results.queries(3), k=3)
    for form in ({"image": "new.png"}, {"tensor": "new.safetensors"}):
        x, _ = results.inputs(**form)
        (new,) = explainer.explain(explainer.labelled(x, int(results.queries(3)[1][0])), k=3)
        assert new.proponents.indices.tolist() == found.proponents.indices.tolist()
        np.testing.assert_allclose(new.proponents.values, found.proponents.values, rtol=0.05)


def test_a_text_is_looked_up_by_the_names_of_the_tokens(made, monkeypatch):
    monkeypatch.chdir(made)
    results = proponent.open("results/lab-texts")
    x, _ = results.inputs(text="The BAD film, not good")
    assert x.tolist() == [[7, 3, 4, 1, 6, 2]]
    printed = ask(
        made, "-s", "lab-texts", "-m", "dualda", "--text", "not bad film", "--html", "page.html",
        "--features", "integrated-gradients",
    )  # fmt: skip
    assert "predicted bad" in printed
    assert "film" in printed
    page = (made / "page.html").read_text()
    assert "background: rgba(0, 114, 178" in page
    assert "[PAD]" not in page
