"""Digests of the source that an artefact depends on, independent of comments, docstrings and formatting.

The digest of a step covers the definitions of the checkout that it reaches (functions, classes and constants, through other
modules as well; see :mod:`proponent.config.digests.definition_graph`), and the version of every third-party package that
these use. Nothing is left out silently:

- the source of a package that is installed from a folder, or that lies on ``sys.path`` outside any distribution, is
  digested as that of the checkout is (see :mod:`proponent.config.digests.distributions`);
- an import that may fail without harm (inside ``try: … except ImportError``, an ``if`` or a function) and is not installed
  counts as version ``absent``, so that installing the package makes the results again;
- any other import that cannot be found is an error.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from proponent.config.digests.definition_graph import DefinitionGraph, Kind, Node
from proponent.config.digests.distributions import is_part_of_python, tops
from proponent.config.digests.python_source import parse_source
from proponent.config.digests.source_index import SourceIndex
from proponent.config.digests.source_memory import SourceMemory
from proponent.config.digests.surroundings import Surroundings
from proponent.errors import UserError
from proponent.extras import how_to_install

ABSENT = "absent"
"""Version of a package that is imported where its absence does no harm, and that is not installed."""


@dataclass
class SourceTree:
    """The checkout's importable Python: ``src/`` first, then the root, where a user's own factories are."""

    roots: tuple[Path, ...]
    memory: SourceMemory | None = None
    """Digests that earlier processes computed in this checkout."""
    _parsed: dict[Path, ast.Module] = field(default_factory=dict)
    _surroundings: Surroundings = field(init=False)

    def __post_init__(self) -> None:
        self._surroundings = Surroundings(self.roots)

    def find(self, module: str) -> Path | None:
        """Return the file of ``module`` in the checkout, or None where it is not there."""
        return self._surroundings.module(module)

    def syntax(self, path: Path) -> ast.Module:
        """Return the syntax tree of a file without its docstrings, parsed once.

        Raises:
            UserError: the file cannot be read, or is not valid Python.
        """
        if path not in self._parsed:
            try:
                source = self._surroundings.read(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be read as Python source ({error})") from error
            self._parsed[path] = parse_source(source, path)
        return self._parsed[path]

    def is_installed(self, module: str) -> bool:
        """Return whether ``module`` belongs to an installed package or the standard library, not to the checkout."""
        top = module.split(".")[0]
        if self.find(top) is not None:
            return False
        return is_part_of_python(top) or self._surroundings.places(top) is not None

    def digest(self, roots: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Digest everything that ``roots`` reach, plumbing left out; what :attr:`memory` holds is not digested again.

        Args:
            roots: ``module:name`` for a definition; ``module`` for everything in a module.

        Returns:
            ``(sources, versions)``: digest by module name, of the definitions that are reached in the module, and version
            by distribution for the third-party packages.

        Raises:
            UserError: a module or an unconditional import cannot be found, or a module is not valid Python.
        """
        start = tuple(roots)
        known = self.memory.recall(start, self._surroundings) if self.memory else None
        if known is None:
            known = self._digest(start)
            if self.memory:
                self.memory.add(start, known, self._surroundings)
        return known

    def _digest(self, start: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
        for module in (root.partition(":")[0] for root in start):
            if self.find(module) is None and not self.is_installed(module):
                raise UserError(f"no module '{module}' in {', '.join(map(str, self.roots))}")
        reached = self.definitions.closure(start)
        importers = {node.module: str(node.detail) for node in reached if node.kind is Kind.needed}
        used = {node.module for node in reached if node.kind is Kind.third_party}
        versions = {"python": ".".join(platform.python_version_tuple()[:2])}
        for module in sorted({*used, *importers}):
            found = self._versions(module, importers.get(module))
            if module in used:
                versions |= found
        return self._digests(self.definitions, reached), dict(sorted(versions.items()))

    def changes(self, roots: Iterable[str], recorded: Mapping[str, str]) -> list[str]:
        """Return the modules whose digest is not the recorded one, sorted.

        Args:
            roots: those that were digested.
            recorded: the ``sources`` that :meth:`digest` returned for them. Only packages outside the checkout whose
                source it holds are looked at again; versions are not, because that needs an index of all distributions.
        """
        start = tuple(roots)
        if self.memory and self.memory.is_unchanged(start, recorded, self._surroundings):
            return []
        outside = {top for top in tops(recorded) if self.find(top) is None}
        definitions = self._graph(
            lambda top: (self._surroundings.places(top) or ()) if top in outside else ()
        )
        current = self._digests(definitions, definitions.closure(start))
        return [name for name in sorted({*current, *recorded}) if current.get(name) != recorded.get(name)]

    @cached_property
    def definitions(self) -> DefinitionGraph:
        """The definitions of the checkout and of packages whose version does not identify their source."""
        return self._graph(self._source_places)

    def _graph(self, places: Callable[[str], tuple[Path, ...]]) -> DefinitionGraph:
        foreign: dict[str, bool] = {}

        def is_foreign(top: str) -> bool:
            if top not in foreign:
                in_checkout = self.find(top) is not None or self._is_namespace(top)
                foreign[top] = not in_checkout and not places(top)
            return foreign[top]

        def locate(module: str) -> Path | None:
            top = module.partition(".")[0]
            if is_foreign(top):
                return None
            return self.find(module) or self._file_in(module, places(top))

        def is_namespace(module: str) -> bool:
            top, *below = module.split(".")
            if is_foreign(top) or locate(module) is not None:
                return False
            folders = self._folders(top, places(top))
            return any(self._surroundings.is_folder(place.joinpath(*below)) for place in folders)

        return DefinitionGraph(SourceIndex(locate, is_namespace, self.syntax))

    def _digests(self, definitions: DefinitionGraph, reached: set[Node]) -> dict[str, str]:
        """Return one digest per module: of the statements and imports in it that are reached."""
        texts: dict[str, list[tuple[int, str]]] = {}
        for node in reached:
            source = definitions.index.source(node.module)
            if node.kind is Kind.whole and source is None:
                path = definitions.index.locate(node.module)
                content = self._surroundings.content(path) if path else None
                texts[node.module] = [(0, content)] if content else []
            elif source is not None and node.kind is Kind.statement:
                text = source.statements[int(node.detail)].digest
                texts.setdefault(node.module, []).append((int(node.detail), text))
            elif source is not None and node.kind is Kind.binding:
                texts.setdefault(node.module, []).append((-1, source.imports[int(node.detail)].text))
        return {
            module: hashlib.sha256("\n".join(text for _, text in sorted(found)).encode()).hexdigest()
            for module, found in sorted(texts.items())
        }

    def _is_namespace(self, top: str) -> bool:
        """Return whether ``top`` is a folder of modules in the checkout; a package elsewhere has precedence over one."""
        asked = self._surroundings
        if is_part_of_python(top) or not any(asked.is_folder(root / top) for root in self.roots):
            return False
        own = {Path(os.path.realpath(root)) for root in self.roots}
        outside = [place for place in asked.places(top) or () if place.parent not in own]
        return not any(asked.is_file(place) or asked.is_file(place / "__init__.py") for place in outside)

    def _file_in(self, module: str, places: Iterable[Path]) -> Path | None:
        """Return the file of a module of the package in ``places`` (its folders, or its single file)."""
        for place in places:
            found = self._surroundings.module_in(module, place)
            if found is not None or not self._surroundings.is_folder(place):
                return found
        return None

    def _folders(self, top: str, places: Iterable[Path]) -> list[Path]:
        return [*places, *(root / top for root in self.roots)]

    def _source_places(self, top: str) -> tuple[Path, ...]:
        """Return where the source of a third-party package is digested; nothing where its version identifies it."""
        if not top or is_part_of_python(top) or self.find(top) is not None:
            return ()
        provider = self._surroundings.provider(top)
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
        provider = None if self.find(top) else self._surroundings.provider(top)
        if provider and (provider.versions or not provider.source):
            return provider.versions
        places = self._folders(top, provider.source if provider else ())
        below = module.split(".")[1:]
        if any(self._surroundings.is_folder(place.joinpath(*below)) for place in places):
            return {}  # a namespace package: nothing in it but the modules that are imported by name
        if importer is None:
            return {module: ABSENT}
        if not importer:
            raise UserError(f"no module '{module}' in {', '.join(map(str, self.roots))}")
        raise UserError(
            f"{importer}: imports '{module}', which is neither in the checkout nor installed; {how_to_install(module)}, "
            "or import it inside try/except ImportError if it is optional"
        )
