"""Recordings as standardised log-mel spectrograms, shuffled and split into training examples and queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from proponent.settings.datasets.shuffled import shuffled_split
from proponent.settings.log_mel import log_mel
from proponent.settings.split import Split


def spectrogram_split(
    recordings: Iterable[tuple[NDArray[np.number], int]],
    labels: Sequence[int],
    n_train: int,
    seed: int,
    *,
    bands: int,
    frames: int,
    class_names: list[str],
    card: str,
) -> Split:
    """Return log-mel spectrograms, (1, bands, frames) each, of which the training examples have mean 0 and deviation 1.

    Args:
        recordings: samples of one channel and their rate per second.
        labels: label of each recording.
        n_train: number of training examples, below the number of recordings.
        seed: seed of the shuffle.
        bands: bands of a spectrogram.
        frames: frames of a spectrogram.
        class_names: names of the labels.
        card: name of the dataset's card.

    Raises:
        UserError: ``n_train`` is not between 1 and the number of recordings less 1.
    """
    x = np.stack([log_mel(samples, rate, bands=bands, frames=frames) for samples, rate in recordings])[
        :, None
    ]
    split = shuffled_split(
        x, np.array(labels), n_train, seed, card=card, class_names=class_names, image_shape=(1, bands, frames)
    )
    (x_train, y_train), (x_query, y_query) = split.train, split.query
    mean, deviation = x_train.mean(dtype=np.float64), x_train.std(dtype=np.float64)
    split.train = (((x_train - mean) / deviation).astype(np.float32), y_train)
    split.query = (((x_query - mean) / deviation).astype(np.float32), y_query)
    return split
