"""Recorded captions from a small package of the same format, and from the real one where it has been downloaded."""

from __future__ import annotations

import io
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from archive_writers import place_package
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import spoken_captions as module
from proponent.settings.datasets.spoken_captions import (
    LANGUAGES,
    PACKAGE,
    decode,
    read_captions,
    spoken_captions,
)
from proponent.settings.log_mel import mel_bands
from proponent.settings.sources import Registry

RATE = 22050


def tone(hertz: float, channels: int) -> bytes:
    """Return an Ogg Vorbis file of a third of a second."""
    time = np.arange(RATE // 3) / RATE
    buffer = io.BytesIO()
    samples = np.repeat(np.sin(2 * np.pi * hertz * time)[:, None], channels, axis=1)
    soundfile.write(buffer, samples / 2, RATE, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """Place a package of ten French (500 Hz), ten Spanish (2 kHz) and two Greek captions where the real one would be."""
    files = {
        "usr/share/tuxpaint/stamps/a/noise.ogg": b"no caption",
        "usr/share/tuxpaint/stamps/a/0_desc_fr.txt": b"",
    }
    for language, hertz, count in (("fr", 500, 10), ("es", 2000, 10), ("el", 900, 2)):
        for number in range(count):
            content = tone(hertz + number, channels=1 + number % 2)
            for folder in "ab":  # the package has copies of recordings
                files[f"usr/share/tuxpaint/stamps/{folder}/{number}_desc_{language}.ogg"] = content
    place_package(module, Registry.debian, files, tmp_path, monkeypatch)


def test_captions_of_the_chosen_languages_and_their_sound(small_package):
    split = spoken_captions(["fr", "es"], n_train=12, n_query=6, bands=32, frames=20)
    assert split.class_names == ["French", "Spanish"]
    assert np.bincount(np.concatenate([split.train[1], split.query[1]])).tolist() == [9, 9]
    centres = mel_bands(np.arange(8001.0), 32).argmax(1)
    for x, y in (split.train, split.query):
        assert x.shape[1:] == (1, 32, 20)
        loudest = centres[x[:, 0, :, 2:8].mean(2).argmax(1)]
        assert (np.abs(loudest - np.array([500, 2000])[y]) < 120).all()


def test_a_recording_is_read_once(small_package):
    captions = read_captions(module.PACKAGE.cached, ["fr", "el"])
    assert [(caption.language, caption.stamp) for caption in captions] == [
        *(("el", f"a/{number}") for number in range(2)),
        *(("fr", f"a/{number}") for number in range(10)),
    ]


def test_another_seed_draws_other_captions(small_package):
    first, second = (spoken_captions(["fr", "es"], 8, 2, seed=seed).train[0] for seed in (0, 1))
    assert first.tobytes() != second.tobytes()
    assert first.tobytes() == spoken_captions(["fr", "es"], 8, 2).train[0].tobytes()


def test_channels_are_averaged():
    buffer = io.BytesIO()
    left = np.random.default_rng(0).normal(size=1000) / 10
    soundfile.write(buffer, np.stack([left, np.zeros(1000)], 1), RATE, format="WAV", subtype="FLOAT")
    samples, rate = decode(buffer.getvalue())
    assert rate == RATE
    np.testing.assert_allclose(samples, left / 2, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"languages": ["fr", "se"]}, "dataset.args.languages: unknown language 'se'; did you mean 'es'"),
        ({"languages": ["fr", "fr"]}, "dataset.args.languages: give two or more languages"),
        ({"languages": ["fr", "el"]}, "need 6 recordings of each language, and 'el' has 2"),
        ({"n_query": 0}, "n_train and n_query must be positive"),
    ],
)
def test_mistakes_are_named(small_package, arguments, message):
    with pytest.raises(UserError) as error:
        spoken_captions(**{"languages": ["fr", "es"], "n_train": 8, "n_query": 4} | arguments)
    assert message in str(error.value)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(
        UserError, match=r"needs soundfile; install it with 'make env-speech'.*proponent\[speech\]"
    ):
        decode(b"")


@pytest.mark.slow
def test_the_card_counts_the_captions_of_the_package():
    """The package has 161 MB and is not downloaded for a test."""
    card = read_card("spoken-captions")
    assert card.sha256 == PACKAGE.sha256 and card.package == str(PACKAGE)
    assert set(card.counts) == set(LANGUAGES.values())
    if not PACKAGE.cached.exists():
        pytest.skip(f"{PACKAGE} is not in the cache")
    counts = Counter(
        LANGUAGES[caption.language] for caption in read_captions(PACKAGE.cached, list(LANGUAGES))
    )
    assert card.counts == counts
