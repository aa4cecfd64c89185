"""Commands spoken by eSpeak NG: known labels, the same samples in every process, and log-mel spectrograms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import get_window

from archive_writers import write_tgz
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import espeak
from proponent.settings.datasets.espeak import Utterance, speak
from proponent.settings.datasets.spoken_intents import (
    LANGUAGES,
    TEMPLATES,
    VARIANTS,
    sentences,
    spoken_intents,
    utterances,
)
from proponent.settings.log_mel import HOP, WINDOW, log_mel, mel_bands
from registry_data import need_package

RATE = 16000


def test_a_tone_is_in_the_band_of_its_frequency():
    time = np.arange(2 * RATE) / RATE
    centres = mel_bands(np.arange(8001.0), 32).argmax(1)
    for hertz in (300, 1000, 3000):
        found = log_mel(np.sin(2 * np.pi * hertz * time), RATE)
        assert set(found[:, 1:50].argmax(0)) == {np.abs(centres - hertz).argmin()}


def test_a_spectrogram_is_that_of_frames_cut_one_by_one():
    samples = np.random.default_rng(0).normal(size=RATE)
    hop, width = round(HOP * RATE), round(WINDOW * RATE)
    padded = np.pad(samples, (0, 4 * RATE))
    frames = np.stack([padded[start : start + width] for start in range(0, 60 * hop, hop)])
    power = np.abs(np.fft.rfft(frames * get_window("hann", width), 1024)) ** 2
    energy = mel_bands(np.fft.rfftfreq(1024, 1 / RATE), 20) @ power.T
    exact = np.log(energy / energy.mean() + 1e-4)
    np.testing.assert_allclose(log_mel(samples, RATE, bands=20, frames=60), exact, atol=1e-5)


def test_loudness_does_not_matter_and_silence_is_finite():
    samples = np.random.default_rng(1).normal(size=3 * RATE)
    np.testing.assert_allclose(log_mel(samples, RATE), log_mel(1000 * samples, RATE), atol=1e-5)
    assert np.isfinite(log_mel(np.zeros(100), RATE)).all()
    np.testing.assert_array_equal(
        log_mel(samples, RATE, frames=20), log_mel(samples[: 21 * 512], RATE, frames=20)
    )


def test_bands_add_up_to_1_between_the_centres_of_the_outer_ones():
    filters = mel_bands(np.linspace(200, 7000, 100), 32)
    np.testing.assert_allclose(filters.sum(0), 1)


def test_every_intent_is_as_frequent_and_every_utterance_different():
    drawn = utterances(900, seed=3)
    assert len(dict(drawn)) == 900
    assert np.bincount([label for _, label in drawn]).tolist() == [100] * len(TEMPLATES)
    for utterance, label in drawn:
        assert utterance.text in sentences(list(TEMPLATES)[label])
    assert utterances(900, seed=3) == drawn != utterances(900, seed=4)


def test_no_sentence_has_two_intents_and_the_card_counts_them():
    every = [sentence for intent in TEMPLATES for sentence in sentences(intent)]
    assert len(set(every)) == len(every)
    card = read_card("spoken-intents")
    assert card.counts == {
        "intents": len(TEMPLATES),
        "sentences": len(every),
        "languages": len(LANGUAGES),
        "voices": len(VARIANTS),
    }
    assert card.sha256 == espeak._DIGESTS["Linux", "x86_64"]


def test_a_machine_without_a_library_is_refused(monkeypatch):
    monkeypatch.setattr(espeak.platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match=r"espeak-ng: no library for .* riscv64, only for Linux x86_64"):
        speak([Utterance("no", "en", 160, 50)])


@pytest.fixture(scope="module")
def voices():
    need_package(espeak.package())


def test_voices_rates_and_texts_differ_and_another_process_says_the_same(voices):
    first = Utterance("set a timer for ten minutes", "en-us+f2", 160, 50)
    others = [
        Utterance("disable my alarm", "en-us+f2", 160, 50),
        Utterance("set a timer for ten minutes", "en+klatt", 160, 50),
        Utterance("set a timer for ten minutes", "en-us+f2", 200, 50),
        Utterance("set a timer for ten minutes", "en-us+f2", 160, 20),
    ]
    spoken, again = speak([first, *others]), speak([first, *others])
    assert spoken.rate == 22050
    assert 1 < len(spoken.samples[0]) / spoken.rate < 3
    assert len({samples.tobytes() for samples in spoken.samples}) == 5
    assert [samples.tobytes() for samples in spoken.samples] == [
        samples.tobytes() for samples in again.samples
    ]


def test_a_voice_that_does_not_exist_is_named(voices):
    with pytest.raises(UserError, match=r"espeak-ng has no voice 'en[+]nobody'"):
        speak([Utterance("no", "en+nobody", 160, 50)])


@pytest.mark.slow
def test_spectrograms_are_standardised_by_the_training_examples(voices):
    split = spoken_intents(n_train=36, n_query=18)
    (x, y), (x_query, y_query) = split.train, split.query
    assert x.shape == (36, 1, 32, 80) == (36, *split.image_shape) and len(x_query) == len(y_query) == 18
    assert abs(x.mean()) < 1e-6 and abs(x.std() - 1) < 1e-6
    assert split.class_names == list(TEMPLATES) and set(y) | set(y_query) == set(range(9))


@pytest.mark.parametrize("bad", [{"n_train": 0}, {"n_query": 0}])
def test_numbers_must_be_positive(bad):
    with pytest.raises(UserError, match="n_train and n_query must be positive"):
        spoken_intents(**{"n_train": 5, "n_query": 5} | bad)


@pytest.mark.parametrize(
    "files, said",
    [
        ({"espeakng_loader/data": b""}, "has no library of espeak-ng"),
        ({"espeakng_loader/../x.so": b""}, "outside its folder"),
        ({"espeakng_loader/lib.so": b"not a library"}, "espeak-ng: .*lib.so: .*delete"),
    ],
)
def test_a_damaged_package_is_refused(tmp_path, monkeypatch, files, said):
    write_tgz(tmp_path / "package.whl", files)
    monkeypatch.setattr(espeak, "fetch_package", lambda package: tmp_path / "package.whl")
    with pytest.raises(UserError, match=said):
        speak([Utterance("no", "en", 160, 50)])
