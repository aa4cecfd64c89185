"""Garments and digits under the same labels: arguments that leave one of the two out are refused before any download."""

from __future__ import annotations

import re

import pytest

from proponent.errors import UserError
from proponent.settings.datasets.two_image_domains import fashion_mnist_and_digits


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"label": "Bga"}, "dataset.args.label: unknown class 'Bga'; did you mean 'Bag'"),
        ({"fraction": 0}, "dataset.args.fraction must leave digits and garments among 10000 examples"),
        ({"fraction": 1}, "dataset.args.fraction must leave"),
        ({"query_fraction": 1.5}, "dataset.args.query_fraction must leave"),
        ({"n_train": 60000, "fraction": 0.1}, "there are 5,000 digits, not 6,100"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, reason):
    with pytest.raises(UserError, match=re.escape(reason)) as refusal:
        fashion_mnist_and_digits(**arguments)
    assert "\n" not in str(refusal.value)
