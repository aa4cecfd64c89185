"""docs/tour.ipynb: it runs, what its text states holds, and few lines are added to each script."""

from __future__ import annotations

from typing import Any

import pytest

from docs.tour_notebook import executed, read

LIMIT = 10
"""Lines that attribution may add to a training script."""
AFTER_IMAGES = """
labels = y[proponents.indices], y[opponents.indices], y[1200:, None]
assert (labels[0] == labels[2]).double().mean() > 0.5  # by chance 0.1
assert (labels[1] == labels[2]).double().mean() < 0.05
shown = y[1200:1203, None]
assert (y[proponents.indices[:3]] == shown).double().mean() > 0.5
assert (y[opponents.indices[:3]] != shown).all()
"""
AFTER_EXPLANATION = """
assert found.carried_by[0] < 60  # of 1200 examples
assert max(max(pair.query.gap, pair.train.gap) for pair in pairs) < 0.05
"""
AFTER_CLUSTERS = """
assert (y[:1200][[i for rows in clusters.exemplars for i in rows]] == 8).all()
assert sum(clusters.sizes) == int((y[:1200] == 8).sum())
"""
AFTER_TEXTS = """
labels = torch.tensor([label for _, label in found])
assert (labels[proponents.indices] == labels[400:420, None]).double().mean() > 0.5  # by chance 0.25
"""
AFTER_REGRESSION = """
assert len(checkpoints) == 4
assert (residuals[chosen].sign() == residuals[400 + query].sign()).double().mean() > 0.6
"""
CHECKS = {
    6: AFTER_IMAGES,
    8: AFTER_EXPLANATION,
    10: AFTER_CLUSTERS,
    15: AFTER_TEXTS,
    21: AFTER_REGRESSION,
}
"""Facts that the text states, by the position of the cell after which they hold."""


def outputs(notebook: Any) -> list[list[tuple[str, list[str]]]]:
    """Return the kinds of the outputs of each cell: streams by name, and media types."""
    return [
        [
            (output.get("name", output.output_type), sorted(output.get("data", {})))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


@pytest.mark.slow
def test_the_notebook_runs_and_its_statements_hold(tmp_path):
    assert outputs(executed(tmp_path, CHECKS)) == outputs(read())


def test_attribution_adds_few_lines_to_each_script():
    tagged = [(cell.metadata.tags[0], cell.source) for cell in read().cells if cell.cell_type == "code"]
    added = [len(source.split("\n")) for tag, source in tagged if tag == "attribution"]
    assert len(added) == len([tag for tag, _ in tagged if tag == "training"]) == 3
    assert max(added) <= LIMIT
    assert not [source for tag, source in tagged if tag == "training" and "Attributor" in source]


def test_pictures_are_small_and_there_is_one_of_images():
    pictures = [
        output.data["image/png"]
        for cell in read().cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 4
    assert sum(map(len, pictures)) < 100_000
