"""Tiny models of transformers with random weights, and data for them; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

transformers.utils.logging.set_verbosity_error()

CLASSES, TOKENS, LENGTH = 3, 20, 5
N_TRAIN, N_QUERY = 8, 3
_WIDTH: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 8,
    "intermediate_size": 10,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "num_labels": CLASSES,
}
_BERT = {**_WIDTH, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_LLAMA = {**_WIDTH, "num_key_value_heads": 1, "pad_token_id": 0}
_GPT2: dict[str, Any] = {
    "vocab_size": TOKENS,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 12,
    "num_labels": CLASSES,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
}
_DISTILBERT: dict[str, Any] = {
    "vocab_size": TOKENS,
    "dim": 8,
    "hidden_dim": 10,
    "n_layers": 1,
    "n_heads": 2,
    "max_position_embeddings": 12,
    "num_labels": CLASSES,
    **dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0),
}
_T5: dict[str, Any] = {
    "vocab_size": TOKENS,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 10,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}
_BART: dict[str, Any] = {
    "vocab_size": TOKENS,
    "d_model": 8,
    "max_position_embeddings": 12,
    "pad_token_id": 0,
    "dropout": 0.0,
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 10))
    },
}
_VIT = {**_BERT, "image_size": 4, "patch_size": 2}


class Masked(nn.Module):
    """A model that is given token numbers alone, and masks padding (0) itself."""

    def __init__(self, model: nn.Module, seq2seq: bool = False) -> None:
        super().__init__()
        self.model, self.seq2seq = model, seq2seq

    def forward(self, ids: Tensor) -> Any:
        given = {"decoder_input_ids": ids.flip(1)} if self.seq2seq else {}
        return self.model(input_ids=ids, attention_mask=(ids != 0).long(), **given)


@dataclass(frozen=True)
class Architecture:
    """A model of transformers, its configuration, the task that it is trained for, and whether it casts to float32."""

    model: str
    config: str
    options: dict[str, Any]
    task: str = "classification"
    casts: bool = False

    def make(self, attention: str = "sdpa") -> nn.Module:
        """Return a new model with one implementation of attention."""
        config = getattr(transformers, self.config)(**self.options, attn_implementation=attention)
        model: nn.Module = getattr(transformers, self.model)(config)
        return model


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("BertForSequenceClassification", "BertConfig", _BERT),
    "bert tokens": Architecture("BertForTokenClassification", "BertConfig", _BERT, "language-model"),
    "bert masked": Architecture("BertForMaskedLM", "BertConfig", _BERT, "masked-language-model"),
    "roberta": Architecture("RobertaForSequenceClassification", "RobertaConfig", _BERT),
    "distilbert": Architecture("DistilBertForSequenceClassification", "DistilBertConfig", _DISTILBERT),
    "gpt2": Architecture("GPT2LMHeadModel", "GPT2Config", _GPT2, "language-model"),
    "gpt2 classes": Architecture("GPT2ForSequenceClassification", "GPT2Config", _GPT2),
    "llama": Architecture("LlamaForCausalLM", "LlamaConfig", _LLAMA, "language-model", casts=True),
    "llama classes": Architecture("LlamaForSequenceClassification", "LlamaConfig", _LLAMA, casts=True),
    "mistral": Architecture(
        "MistralForCausalLM", "MistralConfig", {**_LLAMA, "sliding_window": 3}, "language-model", casts=True
    ),
    "qwen2": Architecture("Qwen2ForCausalLM", "Qwen2Config", _LLAMA, "language-model", casts=True),
    "vit": Architecture("ViTForImageClassification", "ViTConfig", _VIT),
    "t5": Architecture("T5ForConditionalGeneration", "T5Config", _T5, "seq2seq", casts=True),
    "bart": Architecture("BartForConditionalGeneration", "BartConfig", _BART, "seq2seq"),
}


def examples(name: str, n: int = N_TRAIN + N_QUERY) -> tuple[Tensor, Tensor]:
    """Return inputs and labels for an architecture; every second text ends in two tokens of padding."""
    generator = torch.Generator().manual_seed(0)
    if name == "vit":
        return torch.randn(n, 3, 4, 4, generator=generator, dtype=torch.float64), torch.arange(n) % CLASSES
    ids = torch.randint(2, TOKENS, (n, LENGTH), generator=generator)
    ids[::2, 3:] = 0
    return ids, labels(ids, ARCHITECTURES[name].task)


def labels(ids: Tensor, task: str) -> Tensor:
    """Return labels that follow from the tokens, -100 at padding."""
    if task == "classification":
        return ids.sum(1) % CLASSES
    if task == "language-model":  # classes of tokens, or the tokens that follow
        following = torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], 1)
        return torch.where(following > 0, following % CLASSES, -100)
    return torch.where(ids > 0, ids, -100)


def builder(make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """Return a model factory in float64, from a seed to a new model."""

    def build(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make().double()

    return build


def model_of_ids(name: str, attention: str = "sdpa") -> nn.Module:
    """Return a new model that is given one tensor: images, or token numbers whose padding it masks itself."""
    case = ARCHITECTURES[name]
    return case.make(attention) if name == "vit" else Masked(case.make(attention), case.task == "seq2seq")
