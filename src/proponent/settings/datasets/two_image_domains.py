"""Fashion-MNIST with handwritten digits among the examples of one class: images of two domains under the same labels."""

from __future__ import annotations

import numpy as np

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.seeds import derive_seed
from proponent.settings.datasets.fashion_mnist import CLASSES, fashion_mnist
from proponent.settings.datasets.handwritten import mnist5k
from proponent.settings.split import Split

_DIGITS = 5000
"""Images of digits that there are."""


def fashion_mnist_and_digits(
    n_train: int = 10000,
    n_query: int = 500,
    label: str = "Bag",
    fraction: float = 0.05,
    query_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Return images of Fashion-MNIST, some of which are replaced by digits of MNIST that carry the label of one class.

    What a model predicts for digits can come from the digits alone (Bareeva et al., 2024, "Quanda", mixed datasets). The
    truths ``domain`` and ``domain_queries`` are 1 for digits and 0 for garments.

    Args:
        n_train: number of training examples.
        n_query: number of queries.
        label: name of the class whose label the digits carry.
        fraction: share of the training examples that are digits.
        query_fraction: share of the queries that are digits.
        seed: seed of the choice of images and of their order.

    Raises:
        UserError: the class is unknown, a share leaves no digits or no garments, or there are not as many images.
    """
    if label not in CLASSES:
        raise UserError(f"dataset.args.label: unknown class '{label}'{nearest(label, CLASSES)}")
    counts = {"fraction": (fraction, n_train), "query_fraction": (query_fraction, n_query)}
    for argument, (share, total) in counts.items():
        if not 0 < round(share * total) < total:
            raise UserError(
                f"dataset.args.{argument} must leave digits and garments among {total} examples, which {share} does not"
            )
    digits_train, digits_query = (round(share * total) for share, total in counts.values())
    if digits_train + digits_query > _DIGITS:
        raise UserError(
            f"dataset.args: there are {_DIGITS:,} digits, not {digits_train + digits_query:,}; lower fraction or n_train"
        )
    garments = fashion_mnist(n_train - digits_train, n_query - digits_query, seed=seed)
    digits = mnist5k(digits_train, seed)
    generator = np.random.default_rng(derive_seed(seed, "domains"))
    number = CLASSES.index(label)
    x_train, y_train, domain = _mixed(garments.train, digits.train[0], number, generator)
    x_query, y_query, domain_queries = _mixed(
        garments.query, digits.query[0][:digits_query], number, generator
    )
    return Split(
        train=(x_train, y_train),
        query=(x_query, y_query),
        class_names=CLASSES,
        image_shape=(28, 28),
        card="fashion-mnist-and-digits",
        truth={"domain": domain, "domain_queries": domain_queries},
    )


def _mixed(
    garments: tuple[np.ndarray, np.ndarray], digits: np.ndarray, label: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images of both domains in random order, their labels, and 1 for digits."""
    x, y = garments
    order = generator.permutation(len(x) + len(digits))
    domain = np.repeat([0, 1], [len(x), len(digits)])
    labels = np.concatenate([y, np.full(len(digits), label)])
    return np.concatenate([x, digits.astype(np.float32)])[order], labels[order], domain[order]
