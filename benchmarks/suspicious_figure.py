"""Figure of the most suspicious images of settings without flipped labels, for docs/cleaning.md.

``python benchmarks/suspicious_figure.py`` reads what ``proponent clean --setting mnist-mlp --method aum`` and the same
command for ``fmnist-mlp`` wrote.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
SETTINGS = ("mnist-mlp", "fmnist-mlp")
METHOD = "aum"
COUNT = 12


def main() -> None:
    """Write ``docs/images/suspicious.png``: a row of images per setting, each with its label and the models' answer."""
    figure, panels = plt.subplots(
        2 * len(SETTINGS), COUNT // 2, figsize=(9, 2.3 * 2 * len(SETTINGS)), layout="constrained"
    )
    for place, setting in enumerate(SETTINGS):
        folder = ROOT / "results" / setting
        images = load_file(folder / "data/train.safetensors")["x"]
        height, width = json.loads((folder / "data/description.json").read_text())["image_shape"][-2:]
        with (folder / f"cleaning/{METHOD}.csv").open(encoding="utf-8") as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(COUNT), strict=False)]
        for axes, row in zip(panels[2 * place : 2 * place + 2].flat, rows, strict=True):
            axes.imshow(images[int(row["example"])].reshape(height, width), cmap="gray_r")
            axes.set_title(f"{row['label']}\nmodels: {row['predicted']}", fontsize=8)
            axes.set_axis_off()
    figure.savefig(ROOT / "docs/images/suspicious.png", dpi=80)


if __name__ == "__main__":
    main()
