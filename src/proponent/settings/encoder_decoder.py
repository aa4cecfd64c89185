"""A small encoder-decoder transformer, made of torch's own layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proponent.errors import UserError

_DEVIATION = 0.02


class EncoderDecoder(nn.Module):
    """Transformer that reads a text and answers it word by word; one embedding serves both sides and the output.

    Args:
        vocabulary: number of tokens.
        length: largest number of positions of a text or an answer.
        width: width of the states.
        heads: number of heads, a divisor of the width.
        layers: number of layers of the encoder, and of the decoder.
    """

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(_DEVIATION * torch.randn(2, length, width))
        shape = (width, heads, 4 * width)
        options: dict[str, Any] = {
            "dropout": 0.0,
            "activation": "gelu",
            "batch_first": True,
            "norm_first": True,
        }
        encoder = nn.TransformerEncoderLayer(*shape, **options)
        self.encoder = nn.TransformerEncoder(encoder, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*shape, **options), layers, nn.LayerNorm(width)
        )
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Return logits of the words of the answer, (n, answer, vocabulary).

        Args:
            input_ids: token numbers of the text, (n, length).
            attention_mask: 1 for tokens and 0 for padding, which nothing attends to, (n, length).
            decoder_input_ids: the start token and the answer so far, (n, answer); positions attend to those before them.
        """
        padding = attention_mask == 0
        length, answer = input_ids.shape[-1], decoder_input_ids.shape[-1]
        read = self.encoder(
            self.embedding(input_ids) + self.positions[0, :length], src_key_padding_mask=padding
        )
        later = torch.ones(answer, answer, dtype=torch.bool, device=input_ids.device).triu(1)
        states = self.decoder(
            self.embedding(decoder_input_ids) + self.positions[1, :answer],
            read,
            tgt_mask=later,
            memory_key_padding_mask=padding,
        )
        return F.linear(states, self.embedding.weight)


def encoder_decoder(
    vocabulary: int, length: int = 16, width: int = 64, heads: int = 4, layers: int = 1
) -> nn.Module:
    """Return a small encoder-decoder transformer; arguments as in :class:`EncoderDecoder`.

    Raises:
        UserError: the width is not a multiple of the number of heads.
    """
    if width % heads:
        raise UserError(f"model.args: width ({width}) must be a multiple of heads ({heads})")
    return EncoderDecoder(vocabulary, length, width, heads, layers)
