"""The attributor of a finished run: its models, features and tuned hyper-parameters, for new queries."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from proponent.attributor import Attributor, History
from proponent.config.benchmark_schema import MethodConfig
from proponent.config.model_schema import FactoryConfig, TaskConfig
from proponent.config.recipe_schema import Precision
from proponent.config.specifications.method_specs import AttributeSpec, FeaturizeSpec
from proponent.config.specifications.step_spec import ModelSpec
from proponent.config.specifications.training_specs import CheckSpec
from proponent.errors import UserError
from proponent.features.views import CheckpointTimes
from proponent.settings.factories import build_model
from proponent.settings.split import Arrays
from proponent.settings.tasks import get_task
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.steps.io.stored_checkpoints import checkpoint_times, load_checkpoint
from proponent.store.files import read_json
from proponent.store.manifest import Manifest, read_manifest
from proponent.trained.feature_cache import FeatureCache
from proponent.trained.given_arguments import usable_device
from proponent.trained.live_member import Problem
from proponent.trained.method_choice import OF_MODELS, Choice
from proponent.trained.stored_member import StoredFeatures, StoredMember

_ENOUGH = {*OF_MODELS, "data", "workspace"}
"""Needs that the files of a run meet for new queries."""


class TrainedModels(NamedTuple):
    """What the manifests of a run say about its models."""

    task: TaskConfig
    target: FactoryConfig | None
    model: ModelSpec
    precision: Precision
    momentum: float
    weight_decay: float


class StoredAttributor(Attributor):
    """An :class:`Attributor` over the files of a finished run; :func:`proponent.open` makes it.

    Args:
        root: checkout of the results.
        method: name of a method with scores on the setting.
        setting: name of the setting.
        data: training examples and queries of the setting.
        device: device to work on.
        memory_mib: memory of features and methods, in MiB; None for that of the run.
        cache: folder for what the method computes from the training set; None to compute it in each process.

    Raises:
        UserError: the scores of the method are not of a function in Python, the method needs more than models and data, or
            a file of the run is missing.
    """

    def __init__(
        self,
        root: Path,
        setting: str,
        method: str,
        data: Arrays,
        *,
        device: str = "cpu",
        memory_mib: int | None = None,
        cache: Path | None = None,
    ) -> None:
        manifest = _manifest_of(root, f"results/{setting}/scores/{method}.safetensors")
        if manifest.step != AttributeSpec.step:
            raise UserError(
                f"{manifest.artefact}: a rule of your own makes these scores, so that they cannot be computed for new "
                "queries; choose a method that is a function in Python"
            )
        if "left_out" in manifest.details:
            raise UserError(f"{manifest.artefact}: the method was left out: {manifest.details['left_out']}")
        spec = recorded_spec(manifest, AttributeSpec)
        self._choice = _choice(spec, manifest.details["hyper_parameters"])
        self._configured = spec.params
        models = _models(root, spec, manifest)
        task = get_task(models.task, models.target)
        self._task = task
        self._device = usable_device(device)
        module = build_model(models.model, 0, models.precision).to(self._device).eval()
        self._dtype = next(module.parameters()).dtype
        data = data.to(self._device)
        self._y = data.y_train
        weighted, data = data.weighted(task)
        own = (weighted, data.x_train, data.y_train)
        kept = FeatureCache.of(cache, module, *own) if cache is not None else None
        self._problem = Problem(*own, models.weight_decay, memory_mib or spec.memory_mib, kept)
        member = partial(StoredMember, stored=StoredFeatures(root, setting))
        self._begin(module, _histories(root, setting, spec, models), member)


def _choice(spec: AttributeSpec, params: dict[str, Any]) -> Choice:
    """Return a method of a run with its tuned hyper-parameters.

    Raises:
        UserError: the method needs more than models and data.
    """
    more = [need for need in (*spec.needs, *spec.finish_needs) if need not in _ENOUGH]
    if more:
        raise UserError(
            f"method '{spec.method}' needs {more[0]}, so that it scores the queries of the run only; choose graddot, trak, "
            "ekfac or dualda for new ones"
        )
    config = MethodConfig(
        family=spec.family,
        members=spec.members,
        combine=spec.combine,
        checkpoints=list(spec.checkpoints),
    )
    return Choice(spec.method, importlib.import_module(spec.module), config, dict(params), spec.function)


def _models(root: Path, spec: AttributeSpec, manifest: Manifest) -> TrainedModels:
    """Return what the manifests say about the models that a method uses, or about those of the setting."""
    if spec.network is not None:
        own = spec.network
        return TrainedModels(spec.task, spec.target, own.model, own.precision, own.momentum, own.weight_decay)
    features = [path for path in manifest.inputs if path.startswith(f"results/{spec.setting}/features/")]
    if features:
        stored = recorded_spec(_manifest_of(root, features[0]), FeaturizeSpec)
        return TrainedModels(stored.task, stored.target, stored.model, stored.precision, stored.momentum, 0.0)
    check = recorded_spec(_manifest_of(root, f"results/{spec.setting}/check.json"), CheckSpec)
    if check.model is None:
        raise UserError(f"setting {spec.setting}: a script writes its targets, and there is no model to load")
    recipe = check.recipe
    momentum, decay = (0.0, 0.0) if recipe is None else (recipe.momentum, recipe.weight_decay)
    return TrainedModels(check.task, check.target, check.model, check.precision, momentum, decay)


def _histories(root: Path, setting: str, spec: AttributeSpec, models: TrainedModels) -> list[History]:
    """Return the states of the members that a method uses along their training, and their times."""
    if not set(spec.needs) & set(OF_MODELS):
        return [([], CheckpointTimes([1], [1.0], [1.0]))]
    found: list[History] = []
    for member in range(spec.members):
        folder = root / f"results/{setting}/ensemble/member-{member:03d}"
        training = read_json(folder / "training.json")
        steps = training["steps"]
        states = [load_checkpoint(folder, steps, index) for index in range(len(steps))]
        found.append((states, checkpoint_times(training, models.momentum)))
    return found


def _manifest_of(root: Path, artefact: str) -> Manifest:
    manifest = read_manifest(root / artefact)
    if manifest is None:
        raise UserError(f"{artefact}: not made yet; run snakemake {artefact}, or dvc pull")
    return manifest
