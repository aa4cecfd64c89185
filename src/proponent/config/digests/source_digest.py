"""Digests of source code and of its imports, independent of comments, docstrings and formatting.

The digest of a step covers the modules of the checkout that it imports, directly or through others, and the version of
every third-party package among these imports. No import is left out silently:

- the source of a package that is installed from a folder, or that lies on ``sys.path`` outside any distribution, is
  digested as that of the checkout is (see :mod:`proponent.config.digests.distributions`);
- an import that may fail without harm (inside ``try: … except ImportError``, an ``if`` or a function) and is not installed
  counts as version ``absent``, so that installing the package makes the results again;
- any other import that cannot be found is an error.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proponent.config.digests.distributions import Distributions, import_places, is_part_of_python, tops
from proponent.config.digests.python_source import imports_of, parse, syntax_digest
from proponent.errors import UserError

PLUMBING = (
    "proponent",
    "proponent.cli",
    "proponent.errors",
    "proponent.notes",
    "proponent.progress",
    "proponent.slurm",
    "proponent.plan",
    "proponent.inspection",
    "proponent.config",
    "proponent.store",
    "proponent.steps.adopt",
    "proponent.steps.io.job",
    "proponent.steps.io.process",
    "proponent.steps.io.device",
    "proponent.steps.publish",
    "proponent.publish.tracking",
    "proponent.publish.ui",
)
"""Modules (and everything below the packages among them) that move bytes and words but decide no number: a change in them
re-runs nothing. The decisions of :mod:`proponent.config` are in the resolved configuration, which is part of every key."""

ABSENT = "absent"
"""Version of a package that is imported where its absence does no harm, and that is not installed."""


@dataclass
class _Closure:
    """All modules behind some others."""

    sources: dict[str, str] = field(default_factory=dict)
    """Digest by module, for source that was found."""
    required: dict[str, str] = field(default_factory=dict)
    """Third-party modules that are imported without a condition, and the file that does so ('' for a starting point)."""
    optional: set[str] = field(default_factory=set)
    """Third-party modules that are imported under a condition."""


@dataclass
class SourceTree:
    """The checkout's importable Python: ``src/`` first, then the root, where a user's own factories are."""

    roots: tuple[Path, ...]
    _files: dict[str, Path | None] = field(default_factory=dict)
    _parsed: dict[Path, ast.Module] = field(default_factory=dict)
    _read: dict[Path, tuple[str, dict[str, bool]]] = field(default_factory=dict)
    _distributions: Distributions = field(init=False)

    def __post_init__(self) -> None:
        self._distributions = Distributions(self.roots)

    def find(self, module: str) -> Path | None:
        """Return the file of ``module`` in the checkout, or None where it is not there."""
        if module not in self._files:
            self._files[module] = _file_of(module, self.roots)
        return self._files[module]

    def syntax(self, path: Path) -> ast.Module:
        """Return the syntax tree of a file, parsed once.

        Raises:
            UserError: the file cannot be read, or is not valid Python.
        """
        if path not in self._parsed:
            self._parsed[path] = parse(path)
        return self._parsed[path]

    def is_installed(self, module: str) -> bool:
        """Return whether ``module`` belongs to an installed package or the standard library, not to the checkout."""
        top = module.split(".")[0]
        if self.find(top) is not None:
            return False
        return is_part_of_python(top) or import_places(top) is not None

    def digest(
        self, modules: Iterable[str], plumbing: Iterable[str] = PLUMBING
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Digest ``modules`` and everything that they import, plumbing left out.

        Returns:
            ``(sources, versions)``: digest by module name, and version by distribution for the third-party packages.

        Raises:
            UserError: a module or an unconditional import cannot be found, or a module is not valid Python.
        """
        start = list(modules)
        for module in start:
            if self.find(module) is None and not self.is_installed(module):
                raise UserError(f"no module '{module}' in {', '.join(map(str, self.roots))}")
        closure = self._closure(start, tuple(plumbing), self._source_places)
        versions = {"python": ".".join(platform.python_version_tuple()[:2])}
        for module in sorted({*closure.required, *closure.optional}):
            versions |= self._versions(module, closure.required.get(module))
        return dict(sorted(closure.sources.items())), versions

    def changes(self, modules: Iterable[str], recorded: Mapping[str, str]) -> list[str]:
        """Return the modules whose digest is not the recorded one, sorted.

        Args:
            modules: those that were digested.
            recorded: the ``sources`` that :meth:`digest` returned for them. Only packages outside the checkout whose
                source it holds are looked at again; versions are not, because that needs an index of all distributions.
        """
        outside = {top for top in tops(recorded) if self.find(top) is None}
        closure = self._closure(
            list(modules), PLUMBING, lambda top: (import_places(top) or ()) if top in outside else ()
        )
        names = sorted({*closure.sources, *recorded})
        return [name for name in names if closure.sources.get(name) != recorded.get(name)]

    def _closure(
        self, start: list[str], plumbing: tuple[str, ...], places: Callable[[str], tuple[Path, ...]]
    ) -> _Closure:
        def located(module: str) -> Path | None:
            found = self.find(module)
            return found or _file_in(module, places(module.partition(".")[0]))

        closure = _Closure()
        followed: dict[str, int] = {}  # whether the module is imported whenever the starting points are
        queue = [(module, True, "") for module in start]
        while queue:
            module, is_required, importer = queue.pop()
            if is_plumbing(module, plumbing) or followed.get(module, -1) >= is_required:
                continue
            followed[module] = is_required
            path = located(module)
            if path is None:
                if is_required:
                    closure.required.setdefault(module, importer)
                else:
                    closure.optional.add(module)
                continue
            closure.sources[module], imports = self._inspect(module, path)
            for name, unconditional in imports.items():
                parent = name.rpartition(".")[0]
                target = parent if parent and located(name) is None and located(parent) else name
                queue.append((target, is_required and unconditional, str(path)))
        return closure

    def _source_places(self, top: str) -> tuple[Path, ...]:
        """Return where the source of a third-party package is digested; nothing where its version identifies it."""
        if is_part_of_python(top) or self.find(top) is not None:
            return ()
        provider = self._distributions.provider(top)
        return provider.source if provider else ()

    def _versions(self, module: str, importer: str | None) -> dict[str, str]:
        """Return the versions of the distributions behind a module whose source is not digested.

        Args:
            module: dotted name.
            importer: the file that imports it without a condition ('' for a starting point); None if its absence does no
                harm.
        """
        top = module.partition(".")[0]
        if is_part_of_python(top):
            return {}
        provider = None if self.find(top) else self._distributions.provider(top)
        if provider and (provider.versions or not provider.source):
            return provider.versions
        places = provider.source if provider else tuple(root / top for root in self.roots)
        if any(place.joinpath(*module.split(".")[1:]).is_dir() for place in places):
            return {}  # a namespace package: nothing in it but the modules that are imported by name
        if importer is None:
            return {module: ABSENT}
        if not importer:
            raise UserError(f"no module '{module}' in {', '.join(map(str, self.roots))}")
        raise UserError(
            f"{importer}: imports '{module}', which is neither in the checkout nor installed; install it, "
            "or import it inside try/except ImportError if it is optional"
        )

    def _inspect(self, module: str, path: Path) -> tuple[str, dict[str, bool]]:
        if path not in self._read:
            if path.suffix != ".py":
                self._read[path] = (hashlib.sha256(path.read_bytes()).hexdigest(), {})
            else:
                tree = self.syntax(path)
                imports = imports_of(tree, module, path.name == "__init__.py")
                self._read[path] = (syntax_digest(tree), imports)
        return self._read[path]


def is_plumbing(module: str, plumbing: Iterable[str] = PLUMBING) -> bool:
    """Return whether ``module`` is on the list, or below a package on it (``proponent`` itself covers only itself)."""
    return any(module == name or ("." in name and module.startswith(f"{name}.")) for name in plumbing)


def _file_of(module: str, roots: Iterable[Path]) -> Path | None:
    """Return the file of a module below the first of ``roots`` that has it: Python source, or a compiled extension."""
    relative = Path(*module.split("."))
    for root in roots:
        candidates = [root / f"{relative}.py", root / relative / "__init__.py"]
        candidates += [root / f"{relative}{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return None


def _file_in(module: str, places: Iterable[Path]) -> Path | None:
    """Return the file of a module of the package in ``places`` (its folders, or its single file)."""
    for place in places:
        if not place.is_dir():
            return place if "." not in module else None
        found = _file_of(".".join([place.name, *module.split(".")[1:]]), [place.parent])
        if found is not None:
            return found
    return None
