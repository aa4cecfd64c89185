"""Log-mel spectrograms: energies of speech in bands of the mel scale over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT, get_window

LOWEST, HIGHEST = 50.0, 8000.0
"""Range of the bands, in Hz."""
WINDOW, HOP = 0.04, 0.032
"""Length of a frame and distance between two frames, in seconds."""
_FLOOR = 1e-4
"""Energy added before the logarithm, in units of the mean energy of the utterance: silence has a finite value."""


def log_mel(
    samples: NDArray[np.number], rate: int, *, bands: int = 32, frames: int = 80
) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of an utterance, (bands, frames).

    The loudness does not matter: energies are divided by their mean over the utterance. A longer utterance is cut at its
    end, and a shorter one is followed by silence.

    Args:
        samples: (n,) samples of one channel, in any unit.
        rate: samples per second.
        bands: number of bands between :data:`LOWEST` and :data:`HIGHEST`, equally wide on the mel scale.
        frames: number of frames, :data:`HOP` seconds apart.
    """
    hop, width = round(HOP * rate), round(WINDOW * rate)
    wanted = hop * (frames - 1) + width
    sound = np.zeros(wanted)
    sound[: min(len(samples), wanted)] = samples[:wanted]
    transform = ShortTimeFFT(get_window("hann", width), hop, rate, mfft=2 ** (width - 1).bit_length())
    # Frames that lie inside the samples entirely: the first begins with them.
    first = -(-(width // 2) // hop)
    power = transform.spectrogram(
        np.pad(sound, (hop * first - width // 2, width)), p0=first, p1=first + frames
    )
    energy = mel_bands(transform.f, bands) @ power
    return np.log(energy / max(energy.mean(), np.finfo(float).tiny) + _FLOOR).astype(np.float32)


def mel_bands(frequencies: NDArray[np.float64], bands: int) -> NDArray[np.float64]:
    """Return triangular filters, (bands, frequencies), whose centres are equally spaced on the mel scale.

    The mel scale is ``2595 log10(1 + f / 700)`` (O'Shaughnessy, 1987); neighbouring triangles overlap by half
    and add up to 1.

    Args:
        frequencies: (n,) frequencies in Hz.
        bands: number of filters.
    """

    def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(LOWEST), mel(HIGHEST), bands + 2)
    place = mel(frequencies)
    rising = (place - edges[:-2, None]) / (edges[1] - edges[0])
    falling = (edges[2:, None] - place) / (edges[1] - edges[0])
    return np.clip(np.minimum(rising, falling), 0, None)
