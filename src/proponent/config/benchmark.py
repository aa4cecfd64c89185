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
from proponent.config.load import merge, nearest, read_yaml, structured
from proponent.config.method_reader import read_method
from proponent.config.schema import SettingConfig
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
            key: [value] if key in lists and isinstance(value, str) else value
            for key, value in overrides.items()
        }
        config = structured(BenchmarkConfig, merge(content, given), "--config")
    for kind in config.overrides:
        if kind not in _KINDS:
            raise UserError(f"params.yaml: unknown key 'overrides.{kind}'{nearest(kind, _KINDS)}")
    tree = SourceTree(roots=(root / "src", root))
    files = ConfigFiles(root, config, tree)
    return Benchmark(
        root=root,
        config=config,
        settings={name: files.setting(name) for name in _unique(config.settings, "settings")},
        methods={name: read_method(files, name) for name in _unique(config.methods, "methods")},
        metrics={name: files.metric(name) for name in _unique(config.metrics, "metrics")},
        tree=tree,
    )


def _unique(names: list[str], kind: str) -> list[str]:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"params.yaml: {kind} names {', '.join(sorted(repeated))} twice; name it once")
    return names
