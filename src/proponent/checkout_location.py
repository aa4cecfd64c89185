"""Checks of the folder of a checkout, before anything is written: its path, and the modules in its root."""

from __future__ import annotations

import importlib.machinery
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from proponent.errors import UserError

_OWN = {"proponent", "snakemake_logger_plugin_proponent"}
"""Packages of ``src/``. Another copy of them may be installed; this checkout's copy is the one to use."""
_REFUSED = {
    ":": "a colon, which separates the entries of PYTHONPATH",
    "{": "a brace, which Snakemake reads as a wildcard",
    "}": "a brace, which Snakemake reads as a wildcard",
    "\n": "a line break, which lists of files cannot hold",
    "\r": "a line break, which lists of files cannot hold",
}
"""What breaks in a path with such a character, seen with Snakemake 9: a colon makes jobs import the source of another
checkout, braces make Snakemake's lock look for files in other folders."""


def check_location(root: Path) -> None:
    """Refuse a checkout in which a run would write to another folder or import other modules than planned.

    Args:
        root: folder of the Snakefile.

    Raises:
        UserError: the path holds a character that breaks a job, the current directory is another one, or a module in
            the checkout has the name of an installed one; or DVC runs this stage, and a folder of results is a link.
    """
    _check_path(root)
    here = Path.cwd()
    if not here.samefile(root):
        raise UserError(
            f"{root}: results are written to the current directory, which is {here}; "
            f"run snakemake in the folder of its Snakefile, or add --directory {root}"
        )
    if "DVC_STAGE" in os.environ:
        _check_links(root)
    for path, shadowed in shadowing_modules(root):
        raise UserError(
            f"{path.relative_to(root)}: has the name of {shadowed}, so that jobs would import this file instead; rename it"
        )


def _check_path(root: Path) -> None:
    path = str(root.absolute())
    shown = ascii(path)
    found = next((character for character in path if character in _REFUSED), None)
    if found:
        raise UserError(f"{shown}: this path holds {_REFUSED[found]}; move or rename the folder")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{shown}: this path is not valid UTF-8, so that no record can name it; rename the folder"
        ) from None


def _check_links(root: Path) -> None:
    """Refuse links that DVC would refuse after the stage has run, saying only that a path is outside of the repository."""
    results = root / "results"
    for folder in (results, *results.glob("*"), *results.glob("*/*")):
        if folder.is_symlink() and folder.is_dir():
            raise UserError(
                f"{folder.relative_to(root)}: is a link to {folder.resolve()}, and DVC versions no folder behind a link; "
                "move the whole checkout there and link to the checkout, or run snakemake without DVC"
            )


def shadowing_modules(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the modules of a checkout that hide an installed one, and a description of the hidden module.

    The root and ``src/`` come first when a job imports, because factories and methods of the user's own are there.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = {os.path.realpath(folder) for folder in (str(root), str(root / "src"), *given)}
    installed = [entry for entry in sys.path if os.path.realpath(entry) not in own]
    for folder in (root / "src", root):
        for path in sorted(folder.glob("*")):
            name = path.name if (path / "__init__.py").is_file() else inspect.getmodulename(path.name)
            if name is None or (folder != root and name in _OWN):
                continue
            if name in sys.stdlib_module_names:
                yield path, f"the module '{name}' of Python's standard library"
                continue
            spec = importlib.machinery.PathFinder.find_spec(name, installed)
            if spec is not None and spec.origin is not None:
                yield path, f"the installed package '{name}'"


def stop_if_unusable(root: Path) -> None:
    """Call :func:`check_location`, and exit with status 1 and one line on stderr if it refuses."""
    try:
        check_location(root)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
