"""Nodes of a setting that do not depend on its methods: data, ensemble, features and retrainings."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from proponent.chunking import chunks
from proponent.config.benchmark import Benchmark
from proponent.config.design_schema import DesignConfig, DesignKind, n_rows
from proponent.config.feature_shards import feature_shards
from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import RecipeConfig
from proponent.config.setting_schema import SettingConfig
from proponent.config.specifications.method_specs import FeatureKind, FeaturizeSpec
from proponent.config.specifications.step_inputs import (
    CheckInputs,
    DataInputs,
    FeaturizeInputs,
    GroundTruthInputs,
    NoInputs,
)
from proponent.config.specifications.step_spec import Engine, ModelSpec
from proponent.config.specifications.training_specs import (
    AdoptModelsSpec,
    CheckSpec,
    DataSpec,
    Draw,
    GroundTruthSpec,
    RetrainSpec,
    TrainingJob,
    TrainSpec,
)
from proponent.config.task_names import task_code
from proponent.errors import UserError
from proponent.plan import artefact_paths as paths
from proponent.plan.given_members import digests_of_members, missing
from proponent.plan.graph import Graph
from proponent.plan.script_nodes import command_files, members_spec, retrainings_spec
from proponent.store.manifest import is_current

FEATURES: tuple[FeatureKind, ...] = typing.get_args(FeatureKind)
"""Kinds of features that are stored."""


@dataclass(frozen=True)
class SettingNodes:
    """Adds the nodes of one setting to a graph.

    Args:
        graph: graph to add to.
        benchmark: validated configuration of the run.
        name: name of the setting.
        setting: its configuration.
    """

    graph: Graph
    benchmark: Benchmark
    name: str
    setting: SettingConfig

    def add(self) -> None:
        """Add data, check, ensemble, features and retrainings; inputs come first."""
        self._add_data()
        if self.setting.ensemble.files:
            # Copies of files, which the check tries: a model that does not fit is named before anything else.
            for shard, members in enumerate(self.member_shards):
                self._add_given_members(shard, members)
        self._add_check()
        for shard, members in enumerate(self.member_shards):
            if not self.setting.ensemble.files:
                self._add_members(shard, members)
        if self.member_shards:
            self._add_features()
        for design, config in self.setting.designs.items():
            self._add_design(design, config)

    @property
    def recipe(self) -> RecipeConfig:
        """Recipe of the setting's trainings."""
        if self.setting.recipe is None:
            raise UserError(f"configs/settings/{self.name}.yaml: 'recipe' is missing")
        return self.setting.recipe

    @property
    def engine(self) -> Engine:
        """Where the setting's models are trained and used."""
        compute = self.benchmark.config.compute
        return Engine(threads=compute.threads, device=compute.device)

    @property
    def member_shards(self) -> list[range]:
        """Members of the ensemble per shard; none without a model."""
        if self.setting.model is None:
            return []
        return [
            range(members.start, members.stop)
            for members in chunks(
                self.setting.ensemble.members, self.benchmark.config.compute.members_per_job
            )
        ]

    def _add_data(self) -> None:
        setting = self.setting
        spec = DataSpec(
            setting=self.name,
            engine=Engine(threads=self.engine.threads),
            task=setting.task,
            dataset=setting.dataset,
            inputs=setting.inputs,
            label_noise=setting.label_noise,
            planted=setting.planted,
            queries=setting.queries,
            stages=tuple(stage.examples for stage in setting.recipe.stages) if setting.recipe else (),
            precision=setting.precision,
            seed=setting.seed,
        )
        files = self.graph.digests_of(setting.dataset.files)
        code = [setting.dataset.factory, *self.task_code]
        self.graph.add(paths.data(self.name), spec, NoInputs(), code, files)

    def _add_check(self) -> None:
        setting = self.setting
        spec = CheckSpec(
            setting=self.name,
            engine=self.engine,
            task=setting.task,
            target=setting.target,
            dataset=setting.dataset,
            queries=setting.queries,
            changed_data=changed_data(setting),
            model=self.optional_model,
            precision=setting.precision,
            recipe=setting.recipe,
            augment=setting.augment,
            seed=setting.seed,
            designs=tuple(self._draw(design, config) for design, config in sorted(setting.designs.items())),
            left_out_examples={
                design: config.count
                for design, config in sorted(setting.designs.items())
                if config.kind is DesignKind.loo
            },
            jobs=self._training_jobs(),
            lockstep=self.benchmark.config.compute.lockstep,
            memory_mib=self.benchmark.config.compute.memory_mib,
            pretrained=setting.model.pretrained if setting.model else None,
            program=setting.command[0] if setting.trained_by == "command" else "",
            inputs=setting.inputs,
        )
        shards = self.member_shards if setting.ensemble.files else []
        given = tuple(paths.ensemble(self.name, shard) for shard, _ in enumerate(shards))
        inputs = CheckInputs(data=paths.data(self.name), ensemble=given)
        code, files = self.with_target(self.training_sources())
        self.graph.add(paths.check(self.name), spec, inputs, [*code, setting.dataset.factory], files)

    def _training_jobs(self) -> tuple[TrainingJob, ...]:
        """Return the largest jobs that train members and retrain them."""
        compute, ensemble = self.benchmark.config.compute, self.setting.ensemble
        members = min(ensemble.members, compute.members_per_job)
        jobs = [TrainingJob("training the ensemble", members, ensemble.checkpoints)]
        runs = [n_rows(config) * config.seeds for config in self.setting.designs.values()]
        if runs:
            jobs.append(TrainingJob("retraining", min(max(runs), compute.models_per_job), 0))
        return tuple(jobs)

    @property
    def after_check(self) -> tuple[str, ...]:
        """What waits for the check without being made from it."""
        return (paths.check(self.name),)

    def _add_members(self, shard: int, members: range) -> None:
        setting, path = self.setting, paths.ensemble(self.name, shard)
        inputs = DataInputs(data=paths.data(self.name))
        if setting.trained_by == "command":
            by_script = members_spec(self.name, setting, self.engine, self.model, members)
            self.graph.add(path, by_script, inputs, *self._script_sources(), self.after_check)
            return
        spec = TrainSpec(
            setting=self.name,
            engine=self.engine,
            task=setting.task,
            model=self.model,
            recipe=self.recipe,
            augment=setting.augment,
            seed=setting.seed,
            lockstep=self.benchmark.config.compute.lockstep,
            members=tuple(members),
            checkpoints=setting.ensemble.checkpoints,
        )
        self.graph.add(path, spec, inputs, *self.training_sources(), self.after_check)

    def _add_given_members(self, shard: int, members: range) -> None:
        """Add a shard of trained models.

        Raises:
            UserError: a file is missing that has to be read.
        """
        setting, graph, path = self.setting, self.graph, paths.ensemble(self.name, shard)
        own = setting.ensemble.files[members.start : members.stop]
        spec = AdoptModelsSpec(
            setting=self.name,
            model=self.model,
            precision=setting.precision,
            members=tuple(members),
            files=tuple(own),
        )
        code, files = self.factory_sources()
        graph.add(path, spec, NoInputs(), code, {**files, **digests_of_members(graph, self.name, own)})
        absent = [file for member in own for file in member.files if not (graph.root / file).exists()]
        if absent and not is_current(graph.root, path, graph.nodes[path].key):
            raise missing(self.name, absent[0])

    def _add_features(self) -> None:
        per_job = self.benchmark.config.compute.members_per_job
        for kind in FEATURES:
            shards = feature_shards(kind, self.setting.ensemble.members, per_job)
            for shard, members in enumerate(shards):
                self._add_shard_of_features(kind, shard, members, members[0] // per_job)

    def _add_shard_of_features(
        self, kind: FeatureKind, shard: int, members: range, ensemble_shard: int
    ) -> None:
        setting = self.setting
        spec = FeaturizeSpec(
            setting=self.name,
            engine=self.engine,
            task=setting.task,
            target=setting.target,
            kind=kind,
            members=tuple(members),
            model=self.model,
            precision=setting.precision,
            momentum=setting.momentum,
            memory_mib=self.benchmark.config.compute.memory_mib,
        )
        inputs = FeaturizeInputs(
            data=paths.data(self.name), ensemble=paths.ensemble(self.name, ensemble_shard)
        )
        path = paths.features(self.name, kind, shard)
        sources = self.with_target(self.model_sources())
        self.graph.add(path, spec, inputs, *sources, self.after_check)

    def _add_design(self, design: str, config: DesignConfig) -> None:
        setting, compute = self.setting, self.benchmark.config.compute
        draw = self._draw(design, config)
        inputs = DataInputs(data=paths.data(self.name))
        shards = []
        for shard, runs in enumerate(chunks(n_rows(config) * config.seeds, compute.models_per_job)):
            path = paths.retrained_shard(self.name, design, shard)
            if setting.trained_by == "command":
                by_script = retrainings_spec(self.name, setting, self.engine, self.optional_model, draw, runs)
                code, files = self._script_sources()
                if by_script.model is not None:
                    code, files = self.with_target((code, files))
                shards.append(self.graph.add(path, by_script, inputs, code, files, self.after_check))
                continue
            spec = RetrainSpec(
                setting=self.name,
                engine=self.engine,
                task=setting.task,
                target=setting.target,
                model=self.model,
                recipe=self.recipe,
                augment=setting.augment,
                seed=setting.seed,
                lockstep=compute.lockstep,
                design=draw,
                runs=(runs.start, runs.stop),
            )
            sources = self.with_target(self.training_sources())
            shards.append(self.graph.add(path, spec, inputs, *sources, self.after_check))
        self.graph.add(
            paths.ground_truth(self.name, design),
            GroundTruthSpec(setting=self.name, design=draw, count=config.count),
            GroundTruthInputs(data=paths.data(self.name), shards=tuple(shards)),
        )

    @staticmethod
    def _draw(design: str, config: DesignConfig) -> Draw:
        return Draw(name=design, kind=config.kind, seeds=config.seeds, fraction=config.fraction)

    @property
    def task_code(self) -> list[str]:
        """Definition that makes the task."""
        return [task_code(self.setting.task)]

    @property
    def model(self) -> ModelSpec:
        """How the setting's models are built. Name and licence of pretrained weights decide no number."""
        model = self.setting.model
        if model is None:
            raise UserError(f"configs/settings/{self.name}.yaml: 'model' is missing")
        weights = [model.pretrained.file] if model.pretrained else []
        return ModelSpec(model.factory, model.args, [*model.files, *weights], self.setting.preprocess)

    @property
    def optional_model(self) -> ModelSpec | None:
        """The same; None for a setting without a model."""
        return self.model if self.setting.model else None

    def factory_sources(self) -> tuple[list[str], dict[str, str]]:
        """Return the definitions and the digests of files that decide what the model is."""
        model = self.optional_model
        if model is None:
            return [], {}
        factories: list[FactoryConfig] = [model, *([model.preprocess] if model.preprocess else [])]
        files = [file for factory in factories for file in factory.files]
        return [factory.factory for factory in factories], self.graph.digests_of(files)

    def model_sources(self) -> tuple[list[str], dict[str, str]]:
        """Return the definitions and the digests of files that decide what the model and its task are."""
        code, files = self.factory_sources()
        return [*code, *self.task_code], files

    def training_sources(self) -> tuple[list[str], dict[str, str]]:
        """Return the definitions and the digests of files that decide how the model is trained."""
        code, files = self.model_sources()
        augment = self.setting.augment
        if augment is None:
            return code, files
        return [*code, augment.factory], files | self.graph.digests_of(augment.files)

    def _script_sources(self) -> tuple[list[str], dict[str, str]]:
        """Return the definitions and the digests of files that decide how a script trains the model."""
        code, files = self.model_sources()
        return code, files | self.graph.digests_of(command_files(self.setting, self.graph.root))

    def with_target(self, sources: tuple[list[str], dict[str, str]]) -> tuple[list[str], dict[str, str]]:
        """Return definitions and digests of files with those of the target, if it is not that of the task."""
        target = self.setting.target
        if target is None:
            return sources
        code, files = sources
        return [*code, target.factory], files | self.graph.digests_of(target.files)


def changed_data(setting: SettingConfig) -> tuple[str, ...]:
    """Return the parts of the data that are changed after the dataset factory returned them, such as ``train labels``."""
    noisy = {"train labels"} if setting.label_noise is not None else set()
    planted = set(setting.planted.changes) if setting.planted is not None else set()
    return tuple(sorted(noisy | planted))
