"""Class probabilities of the training examples under the models of a finished setting, averaged along their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proponent.config.specifications.step_spec import SettingSpec
from proponent.config.specifications.training_specs import DataSpec
from proponent.errors import UserError
from proponent.features.gradients.capture import Capture
from proponent.features.representations import outputs
from proponent.finished_results import Results, importable
from proponent.plan import artefact_paths as paths
from proponent.rows import Rows, position_name, rows_of
from proponent.settings.factories import build_model
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.steps.io.stored_checkpoints import load_checkpoint
from proponent.store.files import read_json
from proponent.store.manifest import Manifest, read_manifest


def average_probabilities(root: Path, setting: str, results: Results) -> NDArray[np.float64]:
    """Return the probability of each class for each training example, (n_train, n_classes).

    It is the mean over all checkpoints of all members in the first shard of the ensemble. A model that has memorised a wrong
    label predicts it at the end of training, but not while it learns (Pleiss et al., 2020, use the same average of margins).

    Args:
        root: the checkout.
        setting: name of the setting.
        results: its results.

    Raises:
        UserError: examples do not have one class each, or the setting has no models.
    """
    task = recorded_spec(_manifest(root, paths.data(setting)), DataSpec).task
    if task.lacks_classes is not None:
        raise UserError(
            f"setting {setting}: labels can be cleaned where examples have one class, not with {task.lacks_classes}"
        )
    shard = paths.ensemble(setting, 0)
    trained: Any = recorded_spec(_manifest(root, shard), SettingSpec)
    precision = trained.recipe.precision if hasattr(trained, "recipe") else trained.precision
    x = given_rows_of(results.train[0])
    with importable(root):
        module = build_model(trained.model, 0, precision).eval()
    found: list[Tensor] = []
    for member in trained.members:
        folder = (root / shard).parent / f"member-{member:03d}"
        steps = read_json(folder / "training.json")["steps"]
        for index in range(len(steps)):
            module.load_state_dict(load_checkpoint(folder, steps, index))
            with torch.no_grad():
                found.append(probabilities(outputs(Capture(module, x[:1]), x), task.name))
    mean: NDArray[np.float64] = torch.stack(found).mean(dim=0).numpy()
    return mean


def given_rows_of(x: Any) -> Rows:
    """Return inputs that are a tensor, or a tuple or dictionary of tensors, as rows."""
    if isinstance(x, tuple):
        x = {position_name(place): value for place, value in enumerate(x)}
    return rows_of(x) if isinstance(x, dict) else x


def probabilities(logits: Tensor, task: str) -> Tensor:
    """Return class probabilities (n, n_classes) in float64; a binary model has one logit per example."""
    if task == "binary":
        positive = torch.sigmoid(logits.double().reshape(len(logits)))
        return torch.stack([1 - positive, positive], dim=1)
    return logits.double().softmax(1)


def _manifest(root: Path, path: str) -> Manifest:
    manifest = read_manifest(root / path)
    if manifest is None:
        setting = path.split("/")[1]
        raise UserError(f"{path}: not made yet; run snakemake results/summaries/{setting}.json")
    return manifest
