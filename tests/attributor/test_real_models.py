"""Models as people have them: from a Trainer, with adapters, from Lightning, with batch normalisation; against autograd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import proponent
from proponent.settings.models import resnet9

METHODS = (
    *("graddot", "gradcos", "trak", "datainf", "if-cg", "ekfac", "logra", "knn-shapley", "dualda", "rps"),
    "similarity-cosine",
)


def inner_products(logits: Callable[[int, bool], Tensor], model: nn.Module, sizes: tuple[int, int]) -> Tensor:
    """Return the inner products of gradients by autograd, of the margins of queries and of minus the training losses.

    Args:
        logits: function from the index of a row and whether it is a query to its logits and its label.
        model: the model, in double precision.
        sizes: numbers of training examples and of queries.
    """
    parameters = [value for value in model.parameters() if value.requires_grad]

    def gradient(row: int, query: bool) -> Tensor:
        out, label = logits(row, query)
        log_p = out.log_softmax(0)[label]
        value = log_p - torch.log1p(-log_p.exp()) if query else log_p
        slopes = torch.autograd.grad(value, parameters, allow_unused=True)
        return torch.cat(
            [
                (torch.zeros_like(p) if s is None else s).flatten()
                for s, p in zip(slopes, parameters, strict=True)
            ]
        )

    train, query = (torch.stack([gradient(row, side) for row in range(sizes[side])]) for side in (0, 1))
    return query @ train.T


def check(
    model: nn.Module, train: Any, queries: Any, expected: Tensor, tolerance: float = 1e-4, **given: Any
) -> None:
    """Compare GradDot with autograd, and let ten other methods score."""
    scale = float(expected.abs().max())
    for method in METHODS:
        scores = proponent.Attributor(method, model, train, **given).attribute(queries)
        assert scores.shape == expected.shape, method
        assert scores.isfinite().all(), method
        assert scores.dtype == torch.float32, method
        if method == "graddot":
            torch.testing.assert_close(scores, expected.float(), rtol=0, atol=tolerance * scale)


@pytest.mark.slow
def test_resnet9_with_batch_normalisation_from_lightning(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(14, 1, 8, 8), torch.arange(14) % 3
    model = resnet9(1, 3, width=4)
    for rows in range(3):  # statistics that are not those of a new model
        model(x + rows)
    path = tmp_path / "epoch=2.ckpt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save(
        {"state_dict": state, "epoch": 2, "hyper_parameters": {"width": 4}, "optimizer_states": []}, path
    )
    exact = resnet9(1, 3, width=4).double().eval()
    exact.load_state_dict(model.state_dict())
    labels = (y[:10], y[10:])

    def logits(row: int, query: bool) -> tuple[Tensor, Tensor]:
        return exact((x[10:] if query else x[:10])[row][None].double())[0], labels[query][row]

    expected = inner_products(logits, exact, (10, 4))
    new = resnet9(1, 3, width=4)
    check(new, (x[:10], labels[0]), (x[10:], labels[1]), expected, models=[path])


def texts(n: int, seed: int) -> list[dict[str, Any]]:
    """Return rows of different lengths, as a tokenizer gives them."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for row in range(n):
        length = int(torch.randint(2, 6, (), generator=generator))
        tokens = torch.randint(1, 20, (length,), generator=generator).tolist()
        rows.append({"input_ids": tokens, "attention_mask": [1] * length, "labels": row % 3})
    return rows


def logits_of(
    model: nn.Module, train: list[dict[str, Any]], queries: list[dict[str, Any]]
) -> Callable[[int, bool], Any]:
    """Return a function that runs one row without padding."""

    def logits(row: int, query: bool) -> Any:
        found = (queries if query else train)[row]
        names = ("input_ids", "attention_mask")
        return model(**{name: torch.tensor([found[name]]) for name in names}).logits[0], found["labels"]

    return logits


def bert() -> Any:
    transformers = pytest.importorskip("transformers", reason="needs the extra [text]")
    sizes = {"hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2}
    none = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    config = transformers.BertConfig(
        vocab_size=20, max_position_embeddings=12, num_labels=3, initializer_range=0.5, **sizes, **none
    )
    torch.manual_seed(1)
    return transformers.BertForSequenceClassification(config)


@pytest.mark.slow
def test_a_bert_from_the_folder_of_a_trainer(tmp_path):
    model = bert()
    folder = tmp_path / "checkpoint-30"
    model.save_pretrained(folder)
    train, queries = texts(10, 0), texts(4, 1)
    exact = type(model).from_pretrained(folder).double().eval()
    expected = inner_products(logits_of(exact, train, queries), exact, (10, 4))
    loader = DataLoader(train, batch_size=4, collate_fn=padded)
    check(bert().apply(_cleared), loader, queries, expected, models=[folder])


def padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Return a batch as the collators of transformers do."""
    length = max(len(row["input_ids"]) for row in rows)
    batch = {
        name: torch.tensor([row[name] + [0] * (length - len(row[name])) for row in rows])
        for name in ("input_ids", "attention_mask")
    }
    return {**batch, "labels": torch.tensor([row["labels"] for row in rows])}


def _cleared(module: nn.Module) -> None:
    for value in module.parameters(recurse=False):
        nn.init.zeros_(value)


@pytest.mark.slow
def test_adapters_of_peft_from_their_folder(tmp_path):
    peft = pytest.importorskip("peft", reason="needs the extra [text]")
    config = peft.LoraConfig(
        r=2, target_modules=["query", "value"], task_type="SEQ_CLS", modules_to_save=["classifier"]
    )
    model = peft.get_peft_model(bert(), config)
    for name, value in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.5)
    model.save_pretrained(tmp_path)
    train, queries = texts(10, 0), texts(4, 1)
    exact = peft.PeftModel.from_pretrained(bert(), tmp_path, is_trainable=True).double().eval()
    expected = inner_products(logits_of(exact, train, queries), exact, (10, 4))
    fresh = peft.get_peft_model(bert(), config)
    check(fresh, train, queries, expected, models=[Path(tmp_path)])
