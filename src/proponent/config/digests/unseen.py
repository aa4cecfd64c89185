"""Modules with computed names, and files, that a factory or a method reads and no digest covers.

Neither can be followed in source. So that nothing changes unnoticed, each is named until the file is listed in the
configuration, where it is digested.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from proponent.config.digests.definition_graph import DefinitionGraph, Kind
from proponent.config.digests.module_source import ModuleSource, Statement
from proponent.config.digests.python_source import dotted

_READERS = {
    *(
        "builtins.open",
        "io.open",
        "os.listdir",
        "os.scandir",
        "os.walk",
        "glob.glob",
        "glob.iglob",
        "sqlite3.connect",
    ),
    *(
        "numpy.load",
        "numpy.loadtxt",
        "numpy.genfromtxt",
        "numpy.fromfile",
        "numpy.memmap",
        "torch.load",
        "joblib.load",
    ),
    *(
        "safetensors.safe_open",
        "safetensors.torch.load_file",
        "safetensors.numpy.load_file",
        "scipy.io.loadmat",
    ),
    *("h5py.File", "PIL.Image.open", "importlib.resources.open_text", "importlib.resources.open_binary"),
    *("importlib.resources.read_text", "importlib.resources.read_binary", "importlib.resources.files"),
    *("torchvision.datasets.ImageFolder", "pyarrow.parquet.read_table", "pyarrow.feather.read_table"),
}
_READER_METHODS = {"read_text", "read_bytes", "open", "iterdir", "glob", "rglob"}
_READER_LIBRARIES = ("pandas.read_", "polars.read_", "polars.scan_")
_FETCH = ("proponent.settings.fetch", "proponent.settings.fetched_files.fetch")
_WRITTEN = {"w", "a", "x"}
"""First letters of the modes in which ``open`` writes."""


def unseen(graph: DefinitionGraph, roots: Iterable[str], root: Path, listed: Iterable[str]) -> list[str]:
    """Return one line per definition that imports or reads what is in no digest.

    Args:
        graph: definitions of the checkout.
        roots: definitions to start from, as for :meth:`DefinitionGraph.closure`. This package's own are left out.
        root: the checkout.
        listed: files and folders, relative to the checkout, whose content is digested.
    """
    known = [Path(name) for name in listed]
    own = [code for code in roots if not code.startswith("proponent.")]
    lines: list[str] = []
    for node in sorted(graph.closure(own), key=str):
        source = graph.index.source(node.module)
        if source is None or node.kind is not Kind.statement or node.module.startswith("proponent."):
            continue
        statement = source.statements[int(node.detail)]
        place = source.path.relative_to(root) if source.path.is_relative_to(root) else source.path
        where = f"{place}:{statement.node.lineno}"
        if None in graph.index.dynamic_imports(source, statement) and not known:
            lines.append(f"{where}: imports a module by a computed name")
        names = _literal_files(source, statement, root)
        if any(True for _ in _reading_calls(graph, source, statement)):
            missing = [name for name in names if not any(_covers(one, name) for one in known)]
            if missing or not (names or known or _fetches(graph, source, statement)):
                lines.append(f"{where}: reads {', '.join(map(str, missing)) or 'files'}")
    return list(dict.fromkeys(lines))


def _fetches(graph: DefinitionGraph, source: ModuleSource, statement: Statement) -> bool:
    """Return whether a statement takes its files from :func:`proponent.settings.fetch`, by digests in the source."""
    calls = [dotted(call.func) for call in ast.walk(statement.node) if isinstance(call, ast.Call)]
    return any(graph.index.qualified_in(source, statement, name) in _FETCH for name in calls)


def _covers(listed: Path, file: Path) -> bool:
    return file == listed or listed in file.parents


def _reading_calls(graph: DefinitionGraph, source: ModuleSource, statement: Statement) -> Iterator[ast.Call]:
    for call in ast.walk(statement.node):
        if not isinstance(call, ast.Call):
            continue
        name = graph.index.qualified_in(source, statement, dotted(call.func)) or ""
        is_method = isinstance(call.func, ast.Attribute) and call.func.attr in _READER_METHODS
        is_known = name in _READERS or name.startswith(_READER_LIBRARIES)
        if (is_known or (is_method and not name.startswith("os."))) and not _writes(call):
            yield call


def _writes(call: ast.Call) -> bool:
    """Return whether a call of ``open`` names a mode that writes."""
    given = [*call.args[:2], *(item.value for item in call.keywords if item.arg == "mode")]
    modes = [item.value for item in given if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return any(len(mode) <= 3 and mode[:1] in _WRITTEN for mode in modes)


def _literal_files(source: ModuleSource, statement: Statement, root: Path) -> list[Path]:
    """Return the existing files that literals in a statement, or in the constants that it uses, name.

    Relative names are looked up next to the module and in the checkout, which is the current directory of a job.
    """
    used = {position for chain in statement.uses.chains for position in source.positions.get(chain[0], ())}
    nodes = [statement.node, *(source.statements[position].node for position in sorted(used))]
    texts = {
        item.value
        for node in nodes
        for item in ast.walk(node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str) and 0 < len(item.value) < 200
    }
    folders = (source.path.parent, root)
    paths = {folder / text for text in texts if "\0" not in text for folder in folders}
    found = {path for path in paths if path.is_file()}
    return sorted(path.relative_to(root) if path.is_relative_to(root) else path for path in found)
