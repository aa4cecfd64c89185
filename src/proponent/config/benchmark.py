"""``params.yaml``, the YAML files that it names and ``--config``, resolved into one validated object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proponent.config.benchmark_schema import BenchmarkConfig, MetricConfig
from proponent.config.config_files import ConfigFiles
from proponent.config.configured_method import Method
from proponent.config.digests.source_digest import SourceTree
from proponent.config.digests.source_memory import SourceMemory
from proponent.config.load import merge, nearest, structured
from proponent.config.method_reader import read_method
from proponent.config.names import check_names
from proponent.config.setting_schema import SettingConfig
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError

_KINDS = ("settings", "methods", "designs", "metrics")


@dataclass(frozen=True)
class Benchmark:
    """The resolved configuration of a run."""

    root: Path
    """The checkout."""
    config: BenchmarkConfig
    settings: dict[str, SettingConfig]
    methods: dict[str, Method]
    metrics: dict[str, MetricConfig]
    tree: SourceTree = field(repr=False)


def load_benchmark(root: Path, overrides: Mapping[str, Any] | None = None) -> Benchmark:
    """Read ``params.yaml`` below ``root`` and all files that it names.

    Args:
        root: the checkout.
        overrides: the values of ``snakemake --config``, merged over ``params.yaml``.

    Raises:
        UserError: anything unknown, ill-typed, missing or out of range, in one line.
    """
    params = root / "params.yaml"
    content = read_yaml(params)
    config = structured(BenchmarkConfig, content, "params.yaml")
    if overrides:
        lists = ("settings", "methods", "metrics")
        given = {
            key: value if key not in lists or isinstance(value, list) else [value]
            for key, value in _with_selection(config, overrides).items()
        }
        config = structured(BenchmarkConfig, merge(content, given), "--config")
    _check_lists(config, overrides or {})
    _check_overrides(root, config, "--config" if "overrides" in (overrides or {}) else "params.yaml")
    tree = SourceTree(roots=(root / "src", root), memory=SourceMemory(root))
    files = ConfigFiles(root, config, tree)
    return Benchmark(
        root=root,
        config=config,
        settings={name: files.setting(name) for name in config.settings},
        methods={name: read_method(files, name) for name in config.methods},
        metrics={name: files.metric(name) for name in config.metrics},
        tree=tree,
    )


def _with_selection(config: BenchmarkConfig, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``--config`` with the settings of a selection in place of its name.

    Raises:
        UserError: there is no such selection, or settings are given as well.
    """
    found = dict(overrides)
    name = found.pop("selection", None)
    if name is None:
        return found
    if "settings" in found:
        raise UserError("--config: give either 'selection' or 'settings'")
    if not isinstance(name, str) or name not in config.selections:
        raise UserError(
            f"--config: no selection '{name}' in params.yaml{nearest(str(name), config.selections)}"
        )
    return {**found, "settings": config.selections[name]}


def _check_overrides(root: Path, config: BenchmarkConfig, source: str) -> None:
    """Refuse values for something that does not exist, which would have no effect."""
    for kind, entries in config.overrides.items():
        if kind not in _KINDS:
            raise UserError(f"{source}: unknown key 'overrides.{kind}'{nearest(kind, _KINDS)}")
        if not isinstance(entries or {}, Mapping):
            raise UserError(f"{source}: 'overrides.{kind}' must hold names with values, not {entries!r}")
        valid = [path.stem for path in (root / "configs" / kind).glob("*.yaml")]
        for name in entries or ():
            if name not in valid and name.rpartition("-")[0] not in valid:  # trak-10 is trak over ten members
                raise UserError(
                    f"{source}: overrides.{kind} names '{name}', which does not exist{nearest(name, valid)}"
                )


def _check_lists(config: BenchmarkConfig, overrides: Mapping[str, Any]) -> None:
    """Refuse names that occur twice, or cannot be part of a path."""
    for kind in ("settings", "methods", "metrics"):
        names: list[str] = getattr(config, kind)
        source = "--config" if kind in overrides else "params.yaml"
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise UserError(f"{source}: {kind} names {', '.join(sorted(repeated))} twice; name it once")
        check_names(kind.removesuffix("s"), names, f"{source}: {kind}")
