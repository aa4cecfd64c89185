"""Shared by all tests: the oracles' folder on the path, and one thread so that results do not depend on the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
