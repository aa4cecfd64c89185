"""An upgrade of a package that a factory imports makes the results that depend on it again, and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from workflow.checkout import Checkout, make_checkout

DATA = "results/toy/data/train.safetensors"


@dataclass
class WithPackages(Checkout):
    """A checkout whose user has one more folder of installed packages, on PYTHONPATH."""

    def environment(self) -> dict[str, str]:
        clean = super().environment()
        return {**clean, "PYTHONPATH": os.pathsep.join([clean["PYTHONPATH"], str(self.packages)])}

    @property
    def packages(self) -> Path:
        return self.root.parent / "packages"

    def install(self, version: str) -> None:
        """Install a distribution whose name is not that of its package."""
        shutil.rmtree(self.packages, ignore_errors=True)
        info = self.packages / f"open_shapes-{version}.dist-info"
        info.mkdir(parents=True)
        (self.packages / "shapes.py").write_text("N = 60\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: open-shapes\nVersion: {version}\n")
        (info / "RECORD").write_text(f"shapes.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")


@pytest.mark.slow
def test_an_upgrade_under_another_name_than_the_import_makes_the_data_again(tmp_path) -> None:
    checkout = WithPackages(make_checkout(tmp_path / "checkout").root)
    checkout.install("1.0")
    checkout.edit("toy/factories.py", "import torch\n", "import torch\nimport shapes\n")
    checkout.snakemake(DATA)
    assert checkout.planned(DATA) == {}
    checkout.install("1.1")
    assert checkout.planned(DATA) == {"data": 1}
    checkout.snakemake(DATA)
    assert checkout.planned(DATA) == {}


@pytest.mark.slow
def test_an_import_that_is_not_installed_is_one_line(tmp_path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    checkout.edit("toy/factories.py", "import torch\n", "import torch\nimport shapes\n")
    printed = checkout.snakemake("-n", DATA, check=False).stdout
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert "toy/factories.py: imports 'shapes', which is neither in the checkout nor installed" in line
