"""Energies of bands, recovered from standardised log-mel spectrograms."""

from __future__ import annotations

import numpy as np
from scipy.signal import ShortTimeFFT, get_window

from proponent.publish.examples import spoken_bands
from proponent.publish.examples.spoken_bands import band_centres, band_levels
from proponent.settings import log_mel as source

RATE = 16000
DRAWS = np.random.default_rng(0)


def energies(samples: np.ndarray, bands: int, frames: int) -> np.ndarray:
    """Return the energies of the bands, before the logarithm."""
    hop, width = round(source.HOP * RATE), round(source.WINDOW * RATE)
    transform = ShortTimeFFT(get_window("hann", width), hop, RATE, mfft=2 ** (width - 1).bit_length())
    found = np.zeros((bands, frames))
    sound = np.zeros(hop * (frames - 1) + width)
    sound[: len(samples)] = samples[: len(sound)]
    for frame in range(frames):
        part = sound[frame * hop : frame * hop + width] * get_window("hann", width)
        power = np.abs(np.fft.rfft(part, transform.mfft)) ** 2
        found[:, frame] = source.mel_bands(np.fft.rfftfreq(transform.mfft, 1 / RATE), bands) @ power
    return found


def test_levels_are_the_amplitudes_of_the_bands():
    """The standardisation of the dataset is not given: it follows from silence and from the mean energy."""
    sounds = [DRAWS.standard_normal(6000) * np.linspace(0, 1, 6000) for _ in range(4)]
    logs = np.stack([source.log_mel(sound, RATE, bands=8, frames=20) for sound in sounds])
    x = (logs - logs.mean()) / logs.std()
    for sound, row in zip(sounds, x, strict=True):
        truth = energies(sound, 8, 20)
        amplitudes = np.sqrt(truth / truth.max())
        levels = band_levels(row, float(x.min()))
        assert levels.dtype == np.uint8
        np.testing.assert_allclose(levels / 255, amplitudes, atol=0.02)


def test_an_example_without_sound_is_silent():
    assert not band_levels(np.full((4, 5), -1.5), -1.5).any()


def test_the_bands_are_those_of_the_spectrograms():
    constants = (spoken_bands.LOWEST, spoken_bands.HIGHEST, spoken_bands.HOP, spoken_bands.FLOOR)
    assert constants == (source.LOWEST, source.HIGHEST, source.HOP, source._FLOOR)
    frequencies = np.arange(0.0, 8000.0, 1.0)
    peaks = frequencies[source.mel_bands(frequencies, 8).argmax(axis=1)]
    np.testing.assert_allclose(band_centres(8), peaks, atol=1.0)
