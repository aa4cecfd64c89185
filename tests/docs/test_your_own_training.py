"""docs/your-own-training.md, followed step by step: training scripts in PyTorch and scikit-learn as settings."""

from __future__ import annotations

import pytest

from docs.guides import Reader

GUIDE = "docs/your-own-training.md"


@pytest.mark.slow
def test_every_block_of_the_guide_works(reader: Reader):
    reader.follow(GUIDE)
