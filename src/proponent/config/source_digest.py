"""Digests of source code: what a module *says*, and what it imports, without comments, docstrings or formatting."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from proponent.errors import UserError

PLUMBING = (
    "proponent",
    "proponent.cli",
    "proponent.errors",
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
re-runs nothing. What :mod:`proponent.config` decides is in the resolved configuration, which is part of every key."""

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "PyYAML", "PIL": "pillow"}


@dataclass
class SourceTree:
    """The checkout's importable Python: ``src/`` first, then the root, where a user's own factories lie."""

    roots: tuple[Path, ...]
    _files: dict[str, Path | None] = field(default_factory=dict)
    _read: dict[Path, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def find(self, module: str) -> Path | None:
        """Return the file of ``module`` in the checkout, or None where it is not there."""
        if module not in self._files:
            relative = Path(*module.split("."))
            found = None
            for root in self.roots:
                for candidate in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
                    if candidate.is_file():
                        found = found or candidate
            self._files[module] = found
        return self._files[module]

    def is_installed(self, module: str) -> bool:
        """Return whether ``module`` belongs to an installed package or the standard library, not to the checkout."""
        top = module.split(".")[0]
        if self.find(top) is not None:
            return False
        return top in sys.stdlib_module_names or importlib.util.find_spec(top) is not None

    def digest(
        self, modules: Iterable[str], plumbing: Iterable[str] = PLUMBING
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Digest ``modules`` and everything of the checkout that they import, plumbing left out.

        Returns:
            ``(sources, versions)``: digest by module name, and version by distribution for the third-party packages met.

        Raises:
            UserError: a module is nowhere to be found, or is not valid Python.
        """
        left_out = tuple(plumbing)
        sources: dict[str, str] = {}
        packages: set[str] = set()
        queue = list(modules)
        for module in queue:
            if self.find(module) is None and not self.is_installed(module):
                raise UserError(f"no module '{module}' in {', '.join(map(str, self.roots))}")
        while queue:
            module = queue.pop()
            if module in sources or is_plumbing(module, left_out):
                continue
            path = self.find(module)
            if path is None:
                packages.add(module.split(".")[0])
                continue
            sources[module], imports = self._inspect(module, path)
            for name in imports:
                parent = name.rpartition(".")[0]
                queue.append(parent if self.find(name) is None and parent and self.find(parent) else name)
        versions = {"python": ".".join(platform.python_version_tuple()[:2])}
        for package in sorted(packages - set(sys.stdlib_module_names)):
            version = package_version(package)
            if version:
                versions[_DISTRIBUTIONS.get(package, package)] = version
        return dict(sorted(sources.items())), versions

    def _inspect(self, module: str, path: Path) -> tuple[str, frozenset[str]]:
        if path not in self._read:
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except SyntaxError as error:
                raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
            imports = frozenset(_imports(tree, module, path.name == "__init__.py"))
            self._read[path] = (_digest(tree), imports)
        return self._read[path]


def is_plumbing(module: str, plumbing: Iterable[str] = PLUMBING) -> bool:
    """Return whether ``module`` is on the list, or below a package on it (``proponent`` itself covers only itself)."""
    return any(module == name or ("." in name and module.startswith(f"{name}.")) for name in plumbing)


def package_version(package: str) -> str | None:
    """Return the public version of the distribution that provides ``package``, None where it has none.

    A local part (``+cpu``) is left out: it names a build, not what the code computes.
    """
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(package, package)).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def file_digest(path: Path) -> str:
    """Return the digest of a file: parsed where it is Python, its bytes otherwise."""
    if path.suffix == ".py":
        return _digest(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [item for item in node.body if not _is_string(item)]
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found
