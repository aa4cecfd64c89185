"""WikiText-2 (Merity et al., 2017) in blocks of tokens, for the published benchmarks of language models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.datasets.drawn_records import draw
from proponent.settings.datasets.record_files import read_records
from proponent.settings.pretrained_models import token_names, tokenizer_of
from proponent.settings.ragged_rows import IGNORED
from proponent.settings.sources import read_members
from proponent.settings.split import Split

Block = NDArray[np.int64]


def read_text(path: str, part: str) -> str:
    """Return the text of a part of WikiText.

    Args:
        path: the archive ``wikitext-2-raw-v1.zip``, the folder that is in it (``wiki.train.raw``), or a folder of the
            Parquet files of Hugging Face (``train-00000-of-00001.parquet``).
        part: ``train``, ``valid`` (``validation``) or ``test``.

    Raises:
        UserError: there is no such part.
    """
    wanted = f"wiki.{part}."
    if Path(path).is_file():
        for _, content in read_members(Path(path), lambda name: Path(name).name.startswith(wanted)):
            return content.decode()
    for file in sorted(Path(path).rglob(f"{wanted}*")) if Path(path).is_dir() else []:
        return file.read_text(encoding="utf-8")
    files = sorted(Path(path).rglob(f"{part}*.parquet")) if Path(path).is_dir() else []
    if not files:
        raise UserError(
            f"{path}: has no part '{part}' of WikiText; place wikitext-2-raw-v1.zip there, or its files"
        )
    return "".join(str(record["text"]) for file in files for record in read_records(str(file), ["text"]))


def wikitext(
    path: str,
    tokenizer: str,
    length: int = 512,
    n_train: int | None = None,
    n_query: int | None = None,
    seed: int = 0,
) -> Split:
    """Return blocks of consecutive tokens, and the token that follows at each position.

    All texts of a part are joined and cut into blocks of ``length`` tokens, as in the scripts of ``transformers``; the rest
    is left out. The last position of a block predicts nothing. Queries are blocks of the test part.

    Args:
        path: as in :func:`read_text`.
        tokenizer: folder of the pretrained model whose tokenizer is used.
        length: tokens per block.
        n_train: number of training examples; None for all.
        n_query: number of queries; None for all.
        seed: seed of the draw and of the order.

    Raises:
        UserError: the files cannot be read, or there are not as many blocks.
    """
    chosen = tokenizer_of(tokenizer)
    blocks = {part: _blocks(chosen(read_text(path, part))["input_ids"], length) for part in ("train", "test")}
    drawn = draw(blocks["train"], blocks["test"], n_train, n_query, seed)
    train, query = (np.stack(rows) for rows in drawn)
    return Split(
        train=(train, _following(train)),
        query=(query, _following(query)),
        card="wikitext",
        token_names=token_names(chosen),
    )


def _blocks(tokens: list[int], length: int) -> list[Block]:
    count = len(tokens) // length
    if not count:
        raise UserError(
            f"dataset.args.length: a part has {len(tokens)} tokens, fewer than {length}; lower it"
        )
    return list(np.array(tokens[: count * length], np.int64).reshape(count, length))


def _following(blocks: Block) -> Block:
    return np.concatenate([blocks[:, 1:], np.full_like(blocks[:, :1], IGNORED)], 1)
