"""``params.yaml``, the YAML files that it names and ``--config``, resolved into one validated object."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.implied import over_members, tune_alike, with_tuning
from proponent.config.load import merge, nearest, read_yaml, structured
from proponent.config.schema import BenchmarkConfig, MethodConfig, MetricConfig, SettingConfig
from proponent.config.signature import Signature, read_signature
from proponent.config.source_digest import SourceTree
from proponent.errors import UserError

EXTERNAL = "external"
"""Family of a method that is made by a rule of its own, in any language."""

NEEDS = (
    "data",
    "gradients",
    "outputs",
    "representations",
    "network",
    "replay",
    "retrainings",
    "permutations",
    "scores",
    "workspace",
)
"""What a method may ask for (see proponent.methods.shared.needs)."""

LEARNED_FROM = {"retrainings": "fit", "permutations": "permutations"}
"""The design behind a need. Its retrainings are part of what a method costs; those that evaluate are the benchmark's."""


def uses_models(needs: Iterable[str]) -> bool:
    """Return whether any of a method's needs is of the ensemble's members."""
    return any(need not in ("data", "scores", "workspace", *LEARNED_FROM) for need in needs)


_KINDS = ("settings", "methods", "designs", "metrics")


@dataclass(frozen=True)
class Method:
    """A method's configuration and what its function asks for."""

    name: str
    config: MethodConfig
    module: str
    """Dotted name of its module; empty for the external family."""
    function: str
    needs: tuple[str, ...]
    self_influence: bool
    tasks: tuple[str, ...] | None
    """Tasks that it can run on; None where it can run on all."""
    inputs: str | None = None
    """Rows of x that it can run on (a name of :class:`~proponent.config.schema.Inputs`); None where on all."""
    optimizers: tuple[str, ...] | None = None
    """Optimisers that it was derived for; None where any will do."""
    finish_needs: tuple[str, ...] = ()
    """What its function ``finish`` asks for beside the combined scores of the members; empty without one."""

    @property
    def external(self) -> bool:
        """Whether a rule of its own makes the scores."""
        return self.config.family == EXTERNAL

    checkpoints: int = 0
    """How many checkpoints a setting must save along training, beside the final model."""
    labels: tuple[str, ...] = ()
    """Values of the hyper-parameter ``labels`` that ask whether labels are equal: for classification alone."""
    arrays: str = "torch"
    """Library of the arrays that it computes with: ``torch`` or ``numpy`` (the constant ``ARRAYS`` of its module)."""
    groups: bool = False
    """Whether it says itself what a group of examples counts for, as that is no sum of their scores."""

    @property
    def all_needs(self) -> tuple[str, ...]:
        """What any of its functions asks for."""
        return tuple(dict.fromkeys((*self.needs, *self.finish_needs)))

    def candidates(self, task: str = "classification") -> list[dict[str, Any]]:
        """Return the hyper-parameters to try on a task: the grid's product up to the budget, or the given ones alone."""
        if self.config.tune is None:
            return [dict(self.config.params)]
        grid = dict(self.config.tune.grid)
        if task != "classification" and "labels" in grid:
            grid["labels"] = [value for value in grid["labels"] if value not in self.labels] or grid["labels"]
        product = itertools.islice(itertools.product(*grid.values()), self.config.tune.budget)
        return [{**self.config.params, **dict(zip(grid, values, strict=True))} for values in product]


@dataclass(frozen=True)
class Benchmark:
    """Everything that a run is asked to make."""

    root: Path
    config: BenchmarkConfig
    settings: dict[str, SettingConfig]
    methods: dict[str, Method]
    metrics: dict[str, MetricConfig]
    tree: SourceTree = field(repr=False)


def load_benchmark(root: Path, overrides: Mapping[str, Any] | None = None) -> Benchmark:
    """Read ``params.yaml`` below ``root`` and all that it names.

    Args:
        root: the checkout.
        overrides: what ``snakemake --config`` gave; merged over ``params.yaml``.

    Raises:
        UserError: anything unknown, ill-typed, missing or out of range, in one line.
    """
    params = root / "params.yaml"
    content = read_yaml(params)
    config = structured(BenchmarkConfig, content, "params.yaml")
    if overrides:
        lists = ("settings", "methods", "metrics")
        given = {
            key: [value] if key in lists and isinstance(value, str) else value
            for key, value in overrides.items()
        }
        config = structured(BenchmarkConfig, merge(content, given), "--config")
    for kind in config.overrides:
        if kind not in _KINDS:
            raise UserError(f"params.yaml: unknown key 'overrides.{kind}'{nearest(kind, _KINDS)}")
    tree = SourceTree(roots=(root / "src", root))
    reader = _Reader(root, config, tree)
    return Benchmark(
        root=root,
        config=config,
        settings={name: reader.setting(name) for name in _unique(config.settings, "settings")},
        methods={name: reader.method(name) for name in _unique(config.methods, "methods")},
        metrics={name: reader.metric(name) for name in _unique(config.metrics, "metrics")},
        tree=tree,
    )


def _unique(names: list[str], kind: str) -> list[str]:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"params.yaml: {kind} names {', '.join(sorted(repeated))} twice")
    return names


@dataclass
class _Reader:
    root: Path
    config: BenchmarkConfig
    tree: SourceTree

    def content(self, kind: str, name: str, asked_in: str = "params.yaml") -> tuple[dict[str, Any], str]:
        folder = self.root / "configs" / kind
        over = (self.config.overrides.get(kind) or {}).get(name)
        source = f"configs/{kind}/{name}.yaml"
        if (folder / f"{name}.yaml").is_file():
            content = read_yaml(folder / f"{name}.yaml")
        else:
            alone, _, members = name.rpartition("-")
            if kind != "methods" or not members.isdecimal() or not (folder / f"{alone}.yaml").is_file():
                valid = [entry.stem for entry in folder.glob("*.yaml")]
                raise UserError(
                    f"{asked_in}: no {kind[:-1]} '{name}' in configs/{kind}/{nearest(name, valid)}"
                )
            source = f"configs/methods/{alone}.yaml as {name}"
            content = over_members(read_yaml(folder / f"{alone}.yaml"), int(members), source)
        if over:
            return merge(content, over), f"{source} with overrides of params.yaml"
        return content, source

    def setting(self, name: str) -> SettingConfig:
        content, source = self.content("settings", name)
        designs = content.get("designs", {})
        if isinstance(designs, Mapping):
            content["designs"] = {
                design: merge(self.content("designs", design)[0], entry or {})
                if isinstance(entry or {}, Mapping)
                else entry
                for design, entry in with_tuning(designs).items()
            }
            tune_alike(content["designs"])
        setting = structured(SettingConfig, content, source)
        for key, factory in (("dataset", setting.dataset), ("model", setting.model)):
            signature = self._factory(factory.factory, f"{source}: {key}.factory")
            if signature:
                signature.check_arguments(factory.args, source, f"{key}.args.")
            for file in factory.files:
                if not (self.root / file).is_file():
                    raise UserError(f"{source}: {key}.files names '{file}', which does not exist")
        tasks = read_signature(self.tree, "proponent.settings.tasks", "get_task", source)
        valid = tasks.constants.get("TASKS", ()) if tasks else ()
        if valid and setting.task not in valid:
            raise UserError(f"{source}: unknown task '{setting.task}'{nearest(setting.task, valid)}")
        return setting

    def _factory(self, factory: str, source: str) -> Signature | None:
        module, colon, function = factory.partition(":")
        if not (module and colon and function):
            raise UserError(f"{source} must read 'package.module:function', not '{factory}'")
        return read_signature(self.tree, module, function, source)

    def method(self, name: str) -> Method:
        content, source = self.content("methods", name)
        config = structured(MethodConfig, content, source)
        if config.family == EXTERNAL:
            return self._external(name, config, source)
        module, colon, function = config.family.partition(":")
        if not colon:
            module, function = self._family_module(config.family, source), "attribute"
        signature = read_signature(self.tree, module, function, f"{source}: family")
        if signature is None:
            raise UserError(
                f"{source}: family: '{module}' must lie in the checkout, where its changes can be seen"
            )
        finish_needs: tuple[str, ...] = ()
        if "finish" in signature.functions and function == "attribute":
            finish = read_signature(self.tree, module, "finish", source)
            finish_needs = finish.positional[1:] if finish else ()
        for need in (*signature.positional, *finish_needs):
            if need not in NEEDS:
                raise UserError(f"{signature.where}: a method cannot need '{need}'{nearest(need, NEEDS)}")
        self._check_params(config, signature, source)
        self._check_checkpoints(config, signature, source)
        self._check_scores(name, config, (*signature.positional, *finish_needs), source)
        groups = "group_scores" in signature.functions and function == "attribute"
        if config.members > 1 and not uses_models((*signature.positional, *finish_needs)):
            raise UserError(
                f"{source}: 'members' must be 1: {signature.where} looks at no member of the ensemble"
            )
        if groups and (config.members > 1 or config.checkpoints):
            raise UserError(
                f"{source}: 'members' must be 1, and 'checkpoints' empty: what {module} says of groups has no average"
            )
        return Method(
            name=name,
            config=config,
            module=module,
            function=function,
            needs=signature.positional,
            self_influence="self_influence" in signature.functions and function == "attribute",
            tasks=signature.constants.get("TASKS"),
            inputs=signature.constants.get("INPUTS"),
            optimizers=signature.constants.get("OPTIMIZERS"),
            checkpoints=1 if config.checkpoints else signature.constants.get("CHECKPOINTS", 0),
            labels=signature.constants.get("LABELS_OF_CLASSES", ()),
            finish_needs=finish_needs,
            groups=groups,
            arrays=signature.constants.get("ARRAYS", "torch"),
        )

    def _family_module(self, family: str, source: str) -> str:
        """Return the dotted name of the method module called ``family``, in whichever folder of methods/ it lies.

        Raises:
            UserError: no folder of methods/ has a module of that name, or two have one.
        """
        folder = self.root / "src/proponent/methods"
        modules = [
            path
            for path in (*folder.glob("*.py"), *folder.glob("*/*.py"))
            if path.stem != "__init__" and path.parent.name != "shared"
        ]
        found = [path for path in modules if path.stem == family]
        if len(found) > 1:
            places = " and ".join(sorted(str(path.relative_to(self.root)) for path in found))
            raise UserError(f"{source}: family '{family}' is ambiguous: {places}; rename one of them")
        if not found:
            valid = [path.stem for path in modules]
            raise UserError(
                f"{source}: no family '{family}' in src/proponent/methods/{nearest(family, valid)}"
            )
        relative = found[0].relative_to(self.root / "src").with_suffix("")
        return ".".join(relative.parts)

    def _check_params(self, config: MethodConfig, signature: Signature, source: str) -> None:
        keywords = Signature(where=signature.where, positional=(), keywords=signature.keywords)
        keywords.check_arguments(config.params, source, "params.")
        for parameter, values in (config.tune.grid if config.tune else {}).items():
            for value in values:
                keywords.check_arguments({parameter: value}, source, "tune.grid.")

    def _check_checkpoints(self, config: MethodConfig, signature: Signature, source: str) -> None:
        if not config.checkpoints:
            return
        if "checkpoint" not in signature.keywords:
            raise UserError(
                f"{source}: 'checkpoints' needs a method with a hyper-parameter 'checkpoint', and {signature.where} has none"
            )
        if "checkpoint" in config.params or (config.tune and "checkpoint" in config.tune.grid):
            raise UserError(f"{source}: give 'checkpoints' or the hyper-parameter 'checkpoint', not both")

    def _check_scores(self, name: str, config: MethodConfig, needs: Iterable[str], source: str) -> None:
        if ("scores" in needs) != bool(config.scores):
            raise UserError(
                f"{source}: 'scores' must name other methods where a method needs 'scores', and only there"
            )
        for other in config.scores:
            if other == name or self.content("methods", other, f"{source}: scores")[0].get("scores"):
                raise UserError(f"{source}: scores names '{other}', which starts from scores itself")

    def _external(self, name: str, config: MethodConfig, source: str) -> Method:
        if config.tune is not None:
            raise UserError(f"{source}: 'tune' needs a Python method; a rule of its own tunes by itself")
        for need in config.needs:
            if need not in NEEDS:
                raise UserError(f"{source}: unknown need '{need}'{nearest(need, NEEDS)}")
        self._check_scores(name, config, config.needs, source)
        for file in config.sources:
            if not (self.root / file).is_file():
                raise UserError(f"{source}: sources names '{file}', which does not exist")
        return Method(name, config, "", "", tuple(config.needs or ["data"]), self_influence=False, tasks=None)

    def metric(self, name: str) -> MetricConfig:
        content, source = self.content("metrics", name)
        config = structured(MetricConfig, content, source)
        module = f"proponent.metrics.{config.metric}"
        signature = read_signature(self.tree, module, "evaluate", source)
        if signature:
            Signature(signature.where, (), signature.keywords).check_arguments(
                config.params, source, "params."
            )
        return config
