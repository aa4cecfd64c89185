"""docs/your-own-model.md, followed step by step: three training scripts that become settings."""

from __future__ import annotations

import pytest

from docs.guides import Reader

GUIDE = "docs/your-own-model.md"


@pytest.mark.slow
def test_every_block_of_the_guide_works(reader: Reader):
    reader.follow(GUIDE)
