"""The table of cases: kinds of layers, tasks and inputs, each a tiny problem on which methods are compared with oracles.

A case is trained for a few steps, once by the lockstep trainer and once by an ordinary loop, and then attributed by
every method that applies, once through the engines and once by dense matrices (``test_model_cases.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from features.models import MODELS
from proponent.config.model_schema import FactoryConfig, TaskConfig
from proponent.config.recipe_schema import LastBatch, Optimizer, Precision, RecipeConfig
from proponent.rows import NamedRows
from proponent.settings.batch_augmentation import Augment
from proponent.settings.preprocessing import Preprocess, put_in_front
from proponent.settings.split import Arrays
from proponent.settings.tasks import IGNORED, Task, get_task

N_TRAIN, N_QUERY, CLASSES = 10, 3, 3
TOKENS, LENGTH = 6, 4
N = N_TRAIN + N_QUERY
SGD = RecipeConfig(lr=0.1, momentum=0.5, weight_decay=0.01, batch_size=4, epochs=2)


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes:
        make: model with new parameters.
        x: name of the inputs, in :data:`INPUTS`.
        y: name of the labels, in :data:`LABELS`.
        task: task, or the name of one.
        target: target that is attributed in place of the task's own.
        recipe: recipe of the training.
        refused: pattern of the refusal by method that does not apply to the case.
        left_out: methods that a run leaves out for the configuration of the case.
        packages: optional packages that the model needs.
        augment: augmentation of the batches in training.
        weights: whether the training examples have weights.
        approximate: whether the gradient of the base times ``loss_weight`` only approximates minus that of the loss.
    """

    make: Callable[[], nn.Module]
    x: str = "vectors"
    y: str = "classes"
    task: str | TaskConfig = "classification"
    target: FactoryConfig | None = None
    recipe: RecipeConfig = field(default_factory=lambda: SGD)
    refused: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    augment: Augment | None = None
    weights: bool = False
    approximate: bool = False

    def get_task(self) -> Task:
        return get_task(self.task, self.target)

    def build(self, seed: int) -> nn.Module:
        """Return a new model in float64."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make().double()

    def data(self) -> Arrays:
        """Return training examples and queries."""
        with torch.random.fork_rng():
            torch.manual_seed(11)
            x, y = INPUTS[self.x](), LABELS[self.y]()
        train, query = slice(0, N_TRAIN), slice(N_TRAIN, N)
        weights = torch.linspace(0, 2, N_TRAIN) if self.weights else None
        return Arrays(x[train], y[train], x[query], y[query], weights)


def _normal(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(N, *shape, dtype=torch.float64)


def _with_mask(ids: Tensor) -> NamedRows:
    """Return tokens, of which every second row ends in two of padding, and their mask."""
    ids[::2, 2:] = 0
    return NamedRows({"input_ids": ids, "attention_mask": (ids != 0).long()})


INPUTS: dict[str, Callable[[], Any]] = {
    "vectors": _normal(4),
    "pairs": _normal(2, 4),
    "sequences": _normal(5, 4),
    "signals": _normal(2, 7),
    "images": _normal(2, 3, 4),
    "bytes": lambda: torch.randint(0, 256, (N, 4), dtype=torch.uint8),
    "a vector and a pair": lambda: NamedRows(
        {
            "x0": torch.randn(N, 4, dtype=torch.float64),
            "x1": torch.randn(N, 2, dtype=torch.float64),
        },
        positional=True,
    ),
    "tokens and mask": lambda: _with_mask(torch.randint(1, TOKENS, (N, LENGTH))),
    "tokens": lambda: torch.randint(1, TOKENS, (N, LENGTH)),
}
LABELS: dict[str, Callable[[], Tensor]] = {
    "classes": lambda: torch.arange(N) % CLASSES,
    "two classes": lambda: torch.arange(N) % 2,
    "several labels": lambda: torch.randint(0, 2, (N, CLASSES)),
    "classes, some unknown": lambda: torch.where(torch.arange(N) % 5 == 4, -1, torch.arange(N) % CLASSES),
    "numbers": lambda: torch.randn(N, 1, dtype=torch.float64),
    "number pairs": lambda: torch.randn(N, 2, dtype=torch.float64),
    "next tokens": lambda: torch.randint(1, TOKENS, (N, LENGTH)),
    "some next tokens": lambda: torch.where(
        torch.rand(N, LENGTH) < torch.tensor([0.0, 0.5, 0.5, 1.0]),
        torch.randint(1, TOKENS, (N, LENGTH)),
        IGNORED,
    ),
}


class Readout(nn.Module):
    """A recurrent body, read out at its last position."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class TinyGPT(nn.Module):
    """Tokens and positions, one causal layer, and a readout at every position; tied to the embedding on request."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(TOKENS, 4), nn.Parameter(0.1 * torch.randn(LENGTH, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 4, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(4, TOKENS, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        future = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=ids.device).triu(1)
        return self.head(self.layer(self.tokens(ids) + self.positions, src_mask=future))


class FrozenNorm(nn.BatchNorm1d):
    """Batch normalisation in eval mode throughout."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.running_mean, self.running_var = 0.3 * torch.randn(width), 0.5 + torch.rand(width)

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(mode=False)


def batch_normalised(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), norm, nn.Tanh(), nn.Linear(5, CLASSES))


COUPLED = {"magic": r"the model's layer '1' \(BatchNorm.d\) uses the statistics of the batch"}
"""Refusals where normalisation couples the examples of a batch."""


class Joined(nn.Module):
    """A model of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 3), nn.Linear(2, 3), nn.Linear(3, CLASSES)

    def forward(self, vector: Tensor, pair: Tensor) -> Tensor:
        return self.head(torch.tanh(self.a(vector) * self.b(pair)))


class Pairs(nn.Module):
    """A bilinear layer of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Bilinear(4, 2, 3), nn.Linear(3, CLASSES)

    def forward(self, vector: Tensor, pair: Tensor) -> Tensor:
        return self.head(torch.tanh(self.both(vector, pair)))


class Words(nn.Module):
    """The mean embedding of tokens that are not masked, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(TOKENS, 4), nn.Linear(4, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        kept = attention_mask.to(self.head.weight.dtype)[..., None]
        return self.head(torch.tanh((self.embedding(input_ids) * kept).sum(1) / kept.sum(1)))


class Cubed:
    """A task of one's own: a loss that is not a function of the target, and no Hessian root."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs[:, 0] - y[:, 0]).pow(4) + 0.1 * outputs[:, 1].square()

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        return outputs[:, 0] - outputs[:, 1]


def of_bytes() -> nn.Module:
    return put_in_front(mlp(), Preprocess(lambda x: x / 255 - 0.5, Precision.float64))


def transformer(name: str, **lora: Any) -> Callable[[], nn.Module]:
    """Return the factory of a tiny model of transformers; with arguments of adapters (LoRA), only these are trained."""

    def make() -> nn.Module:
        from settings.transformer_models import ARCHITECTURES  # imports transformers, which is optional

        model = ARCHITECTURES[name].make()
        if not lora:
            return model
        import peft

        return peft.get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False, **lora))

    return make


def noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def mlp(outputs: int = CLASSES) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs))


def layers(name: str) -> Callable[[], nn.Module]:
    """Return the factory of a model of ``features.models`` without dropout, which has cases of its own."""

    def make() -> nn.Module:
        module = MODELS[name][0]()
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
            if isinstance(part, nn.MultiheadAttention):
                part.dropout = 0.0
        return module

    return make


ADAMW = RecipeConfig(optimizer=Optimizer.adamw, lr=0.05, eps=1e-2, weight_decay=0.1, batch_size=4, epochs=2)

CASES: dict[str, Case] = {
    # kinds of layers
    "linear": Case(lambda: nn.Linear(4, CLASSES)),
    "MLP": Case(mlp),
    "Conv1d": Case(layers("conv1d"), "signals"),
    "Conv2d": Case(layers("conv2d"), "images"),
    "grouped convolution": Case(
        lambda: nn.Sequential(nn.Conv1d(2, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(24, CLASSES)),
        "signals",
    ),
    "LayerNorm": Case(layers("layer-norm")),
    "GroupNorm": Case(
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(20, CLASSES)),
        "signals",
    ),
    "transposed convolution": Case(
        lambda: nn.Sequential(nn.ConvTranspose1d(2, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, CLASSES)),
        "signals",
    ),
    "RMSNorm": Case(lambda: nn.Sequential(nn.Linear(4, 5), nn.RMSNorm(5), nn.Linear(5, CLASSES))),
    "PReLU": Case(lambda: nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, CLASSES))),
    "activation in place": Case(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.SiLU(inplace=True), nn.Linear(5, CLASSES))
    ),
    "bilinear layer": Case(Pairs, "a vector and a pair"),
    "bag of embeddings": Case(
        lambda: nn.Sequential(nn.EmbeddingBag(TOKENS, 4), nn.Linear(4, CLASSES)), "tokens"
    ),
    "weight normalisation": Case(
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, CLASSES)
        )
    ),
    "spectral normalisation": Case(
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, CLASSES)
        ),
        refused={"magic": "changes in training, which a replay cannot follow"},
    ),
    "BatchNorm1d": Case(lambda: batch_normalised(nn.BatchNorm1d(5)), refused=COUPLED),
    "BatchNorm1d, cumulative average, not affine": Case(
        lambda: batch_normalised(nn.BatchNorm1d(5, momentum=None, affine=False)), refused=COUPLED
    ),
    "BatchNorm2d": Case(
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(18, CLASSES)
        ),
        "images",
        refused=COUPLED,
    ),
    "frozen BatchNorm": Case(lambda: batch_normalised(FrozenNorm(5))),
    "dropout": Case(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, CLASSES))
    ),
    "embedding": Case(layers("embedding"), "tokens"),
    "attention": Case(layers("attention"), "sequences"),
    "encoder layer": Case(layers("encoder-layer"), "sequences"),
    "RNN": Case(lambda: Readout(nn.RNN(4, 3, batch_first=True), 3), "sequences"),
    "LSTM": Case(lambda: Readout(nn.LSTM(4, 3, batch_first=True), 3), "sequences"),
    "GRU in both directions": Case(
        lambda: Readout(nn.GRU(4, 2, bidirectional=True, batch_first=True), 4), "sequences"
    ),
    "weights by hand": Case(lambda: nn.Sequential(layers("by-hand")(), nn.Linear(CLASSES, CLASSES)), "pairs"),
    "one layer used twice": Case(layers("shared")),
    # tasks
    "regression": Case(lambda: mlp(1), y="numbers", task="regression"),
    "regression of two outputs": Case(lambda: mlp(2), y="number pairs", task="regression"),
    "language model": Case(TinyGPT, "tokens", "next tokens", "language-model"),
    "language model, tied, some tokens ignored": Case(
        lambda: TinyGPT(tied=True), "tokens", "some next tokens", "language-model"
    ),
    "masked language model": Case(
        TinyGPT, "tokens", "some next tokens", "masked-language-model", approximate=True
    ),
    "binary": Case(lambda: mlp(1), y="two classes", task="binary"),
    "weights of examples, binary": Case(lambda: mlp(1), y="two classes", task="binary", weights=True),
    "weights of examples, numbers": Case(lambda: mlp(2), y="number pairs", task="regression", weights=True),
    "several labels": Case(mlp, y="several labels", task="multi-label"),
    "Huber loss": Case(lambda: mlp(2), y="number pairs", task=TaskConfig("huber", {"delta": 0.5})),
    "class weights": Case(mlp, task=TaskConfig("classification", {"class_weights": [0.5, 1.0, 3.0]})),
    "weights of examples": Case(mlp, weights=True),
    "weights of examples, several labels": Case(mlp, y="several labels", task="multi-label", weights=True),
    "label smoothing": Case(mlp, task=TaskConfig("classification", {"label_smoothing": 0.2})),
    "ignored labels": Case(
        mlp,
        y="classes, some unknown",
        task=TaskConfig("classification", {"ignore_index": -1}),
        left_out=("rps", "dualda"),
    ),
    "logit as the target": Case(mlp, target=FactoryConfig("proponent.settings.targets:logit", {"label": 1})),
    "a task of one's own": Case(lambda: mlp(2), y="number pairs", task=TaskConfig(f"{__name__}:Cubed")),
    # kinds of inputs
    "a tuple of inputs": Case(Joined, "a vector and a pair"),
    "a dictionary of inputs with a mask": Case(Words, "tokens and mask"),
    "bytes with preprocessing": Case(of_bytes, "bytes"),
    # models of transformers
    "BERT with a mask": Case(transformer("bert"), "tokens and mask", packages=("transformers",)),
    "GPT-2 with adapters": Case(
        transformer("gpt2 classes", target_modules=["c_attn"], fan_in_fan_out=True),
        "tokens and mask",
        packages=("transformers", "peft"),
    ),
    # trainings
    "AdamW": Case(mlp, recipe=ADAMW),
    "augmentation": Case(mlp, augment=Augment(noise)),
    "last batch dropped": Case(mlp, recipe=replace(SGD, last_batch=LastBatch.drop)),
    "last batch merged": Case(mlp, recipe=replace(SGD, last_batch=LastBatch.merge)),
}
