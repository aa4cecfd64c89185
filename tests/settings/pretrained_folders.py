"""Small folders of pretrained models as users download them, with random weights and a tokenizer of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from settings.transformer_models import ARCHITECTURES

WORDS = [
    *(
        "the",
        "a",
        "of",
        "in",
        "is",
        "what",
        "who",
        "where",
        "city",
        "king",
        "river",
        "france",
        "spain",
        "paris",
    ),
    *(
        "madrid",
        "capital",
        "yes",
        "no",
        "safe",
        "unsafe",
        "question",
        "answer",
        "one",
        "two",
        "three",
        "four",
        ".",
    ),
]


def write_tokenizer(folder: Path, special: dict[str, str]) -> int:
    """Write a tokenizer of :data:`WORDS` that ends texts with its token of the end, and return its number of tokens."""
    names = [*dict.fromkeys(special.values()), *WORDS]
    words = Tokenizer(
        models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=special["unk_token"])
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    end = special.get("sep_token")
    if end is not None:
        words.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, names.index(end))]
        )
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return len(names)


def write_model(folder: Path, architecture: str, special: dict[str, str], **options: Any) -> Path:
    """Write a tokenizer and a model of an architecture of :data:`ARCHITECTURES`, and return the folder."""
    case = ARCHITECTURES[architecture]
    size = write_tokenizer(folder, special)
    config = getattr(transformers, case.config)(**case.options | {"vocab_size": size} | options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, case.model)(config).save_pretrained(folder)
    return folder


def write_gpt2(folder: Path) -> Path:
    """Write a small GPT-2, whose token of the end stands for padding."""
    return write_model(folder, "gpt2", {"unk_token": "<|end|>", "eos_token": "<|end|>"}, n_positions=64)


def write_bert(folder: Path) -> Path:
    """Write a small BERT."""
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "sep_token": "[SEP]"}
    return write_model(folder, "bert masked", special, max_position_embeddings=32)


def write_t5(folder: Path) -> Path:
    """Write a small T5, which masks an entity by a token of its own."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>"}
    return write_model(folder, "t5", special, decoder_start_token_id=0)


def write_clip(folder: Path) -> Path:
    """Write the configuration of a small CLIP without weights, and its tokenizer."""
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>", "sep_token": "</s>"}
    size = write_tokenizer(folder, special)
    narrow = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.CLIPConfig(
        text_config={
            **narrow,
            "vocab_size": size,
            "max_position_embeddings": 8,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config={**narrow, "image_size": 8, "patch_size": 4},
        projection_dim=6,
    ).save_pretrained(folder)
    return folder
