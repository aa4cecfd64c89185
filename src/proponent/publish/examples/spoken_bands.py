"""Standardised log-mel spectrograms as energies of bands, which a page plays as filtered noise.

Noise whose bands follow the energies of speech is understood (Shannon et al., 1995), and it is exactly what the model is
given: the pitch of the voice is not part of a spectrogram.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-4
"""Energy of silence in units of the mean energy of an utterance; the value of :mod:`proponent.settings.log_mel`."""
LOWEST, HIGHEST, HOP = 50.0, 8000.0, 0.032
"""Range of the bands in Hz and distance of two frames in seconds; those of :mod:`proponent.settings.log_mel`."""
_LARGEST_DEVIATION = 50.0


def band_levels(row: NDArray[np.floating[Any]], silence: float) -> NDArray[np.uint8]:
    """Return the amplitude of each band and frame, (bands, frames), from 0 for silence to 255 for the loudest.

    The deviation by which the logarithms were divided follows from the mean energy of an utterance, which is 1 before the
    logarithm.

    Args:
        row: (bands, frames) standardised logarithms of energies.
        silence: smallest value of the dataset, which stands for energy 0.
    """
    from scipy.optimize import brentq

    above = np.maximum(row.astype(np.float64) - silence, 0.0)

    def excess(deviation: float) -> float:
        return float(FLOOR * np.exp(deviation * above).mean() - 1 - FLOOR)

    loud = excess(_LARGEST_DEVIATION) > 0
    deviation = brentq(excess, 0.0, _LARGEST_DEVIATION) if loud else 1.0
    energies = np.exp(deviation * above) - 1
    amplitudes = np.sqrt(energies / (energies.max() or 1.0))
    levels: NDArray[np.uint8] = np.round(255 * amplitudes).astype(np.uint8)
    return levels


def band_centres(bands: int) -> list[float]:
    """Return the centre of each band in Hz, equally spaced on the mel scale."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    centres = np.linspace(low, high, bands + 2)[1:-1]
    return [round(float(700 * (10 ** (mel / 2595) - 1)), 1) for mel in centres]
