"""Trained models that settings name (``ensemble.files``): patterns as lists of files, and the digests of their tensors.

Files that are no longer there are known from the manifests of what was made from them: a clone that pulls the results needs
the originals only if they have to be read again.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from proponent.config.benchmark import Benchmark
from proponent.config.ensemble_schema import GivenMemberConfig
from proponent.config.setting_schema import SettingConfig
from proponent.config.specifications.training_specs import AdoptModelsSpec
from proponent.errors import UserError
from proponent.plan import artefact_paths as paths
from proponent.plan.graph import Graph
from proponent.store.manifest import SUFFIX, Manifest, find_manifest
from proponent.store.trained_files import tensor_files


def with_members(benchmark: Benchmark) -> Benchmark:
    """Return a configuration in which every pattern of ``ensemble.files`` is replaced by the paths that fit it, sorted.

    Raises:
        UserError: nothing fits a pattern.
    """
    settings = {name: _with_members(benchmark.root, name, one) for name, one in benchmark.settings.items()}
    return replace(benchmark, settings=settings)


def digests_of_members(graph: Graph, setting: str, members: Iterable[GivenMemberConfig]) -> dict[str, str]:
    """Return the digest of each file of trained models, by the path that the setting has, which is the same in every clone.

    Of a folder, the files with its tensors are digested, and not the logs and optimiser states next to them.

    Args:
        graph: graph that remembers digests.
        setting: name of the setting.
        members: models of the setting.

    Raises:
        UserError: a file is missing, and no result has its digest; or a folder has no tensors.
    """
    adopted = {file: digest for made in _adopted(graph.root, setting) for file, digest in made.files.items()}
    found: dict[str, str] = {}
    for path in (path for member in members for path in member.files):
        if (graph.root / path).exists():
            try:
                found |= graph.digests_of(
                    str(Path(path) / file.relative_to(graph.root / path))
                    for file in tensor_files(graph.root / path)
                )
            except UserError as error:
                raise UserError(f"{_where(setting)} names '{path}': {error}") from error
        else:
            known = {file: digest for file, digest in adopted.items() if _is_of(file, path)}
            if not known:
                raise missing(setting, path)
            found |= known
    return found


def missing(setting: str, path: str) -> UserError:
    """Return the error about a trained model that is not there."""
    return UserError(
        f"{_where(setting)} names '{path}', which does not exist; place the file there, or run `dvc pull` if results/ of "
        "another clone has its copy"
    )


def _with_members(root: Path, name: str, setting: SettingConfig) -> SettingConfig:
    if not setting.ensemble.files:
        return setting
    files = [member for written in setting.ensemble.files for member in _members(root, name, written)]
    finals = [str(Path(member.final)) for member in files]
    repeated = {final for final in finals if finals.count(final) > 1}
    if repeated:
        raise UserError(f"{_where(name)} names '{min(repeated)}' twice; name each model once")
    return replace(setting, ensemble=replace(setting.ensemble, files=files))


def _members(root: Path, name: str, written: GivenMemberConfig) -> list[GivenMemberConfig]:
    """Return the members that an entry stands for: the paths that fit it if it is a pattern."""
    pattern = written.final
    if not glob.has_magic(pattern) or (root / pattern).exists():
        return [written]
    if written.checkpoints:
        raise UserError(
            f"{_where(name)} has checkpoints for the pattern '{pattern}'; write an entry for each member with checkpoints"
        )
    # Not Path.glob, which takes no absolute pattern.
    found = sorted(glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207
    if not found:  # a clone without the originals
        finals = {member["final"] for made in _adopted(root, name) for member in made.spec["files"]}
        found = sorted(path for path in finals if _fits(path, pattern))
    if not found:
        raise UserError(
            f"{_where(name)} has the pattern '{pattern}', which no file fits; correct it, or run `dvc pull`"
        )
    return [GivenMemberConfig(final=path) for path in found]


def _adopted(root: Path, setting: str) -> list[Manifest]:
    """Return the manifests of the shards into which the models of a setting were copied."""
    records = (root / paths.ensemble(setting, 0)).parent.glob(f"shard-*.json{SUFFIX}")
    made = [find_manifest(record.with_name(record.name.removesuffix(SUFFIX))) for record in sorted(records)]
    return [manifest for manifest in made if manifest and manifest.step == AdoptModelsSpec.step]


def _fits(path: str, pattern: str) -> bool:
    """Return whether a path fits a pattern of :mod:`glob`, in which a star crosses folders only if it is doubled."""
    parts, wanted = Path(path).parts, Path(pattern).parts
    if "**" in wanted:
        return fnmatch.fnmatch(path, pattern)
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatch, parts, wanted))


def _is_of(file: str, path: str) -> bool:
    """Return whether a file is the one at ``path``, or in the folder at ``path``."""
    return Path(path) in (Path(file), *Path(file).parents)


def _where(setting: str) -> str:
    return f"configs/settings/{setting}.yaml: ensemble.files"
