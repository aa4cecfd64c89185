"""Cards of datasets: whole, and true of the data in installed packages."""

from __future__ import annotations

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.settings.cards import card_names, read_card
from proponent.settings.datasets import digits, mnist5k


@pytest.mark.parametrize("name", card_names())
def test_a_card_states_origin_licence_package_and_counts(name):
    card = read_card(name)
    assert all([card.title, card.origin, card.licence, card.package, card.counts])
    downloaded = card.package.startswith(("Debian package", "npm package")) or card.package.endswith(
        ".tar.gz"
    )
    assert (card.sha256 is not None) == downloaded or card.package.startswith("PyPI package")


@pytest.mark.parametrize("factory", [mnist5k, digits])
def test_the_counts_of_a_card_are_those_of_the_data(factory):
    split = factory()
    labels = np.concatenate([split.train[1], split.query[1]])
    counts = read_card(split.card).counts
    assert counts["examples"] == len(labels)
    assert counts["classes"] == len(np.unique(labels))
    if "per class" in counts:
        assert set(np.bincount(labels)) == {counts["per class"]}


def test_an_unknown_card_is_refused():
    with pytest.raises(UserError, match="no data card 'digit'; did you mean 'digits'"):
        read_card("digit")
