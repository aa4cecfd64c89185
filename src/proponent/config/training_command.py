"""Command lines of training scripts: their arguments, placeholders and files.

A command is split into arguments once, as a shell would split it, and placeholders are replaced argument by argument. No
shell sees it, so that no value can be read as shell syntax.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter

from proponent.config.load import nearest

PLACEHOLDERS = ("seed", "indices", "out", "data", "threads", "device")
"""Names that a command may contain in braces; see ``docs/your-own-training.md``."""
REQUIRED = ("seed", "indices", "out")
"""Placeholders without which a command cannot train the models of a setting."""

_SHELL_SYNTAX = ("&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>")


def split_command(command: str) -> tuple[str, ...]:
    """Return the arguments of a command, the program first.

    Raises:
        ValueError: the command is empty, has an open quotation, or has unknown, malformed or missing placeholders.
    """
    try:
        arguments = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(
            f"training: command cannot be split into arguments ({error}); close the quotation"
        ) from error
    if not arguments:
        raise ValueError("training: command is empty; give the program and its arguments")
    for argument in arguments:
        if argument in _SHELL_SYNTAX:
            raise ValueError(
                f"training: command has '{argument}', and no shell reads it; write a script with these lines, and name it"
            )
    found = {name for argument in arguments for name in _placeholders(argument)}
    for name in sorted(found - set(PLACEHOLDERS)):
        raise ValueError(
            f"training: command has the unknown placeholder '{{{name}}}'{nearest(name, PLACEHOLDERS)}; write "
            "{{ and }} for braces themselves"
        )
    for name in REQUIRED:
        if name not in found:
            raise ValueError(
                f"training: command lacks the placeholder '{{{name}}}'; it needs "
                f"{', '.join(f'{{{required}}}' for required in REQUIRED)}"
            )
    return arguments


def fill(arguments: Iterable[str], values: Mapping[str, object]) -> list[str]:
    """Return the arguments with their placeholders replaced; braces in values have no meaning."""
    return [
        "".join(
            text + ("" if name is None else str(values[name]))
            for text, name, *_ in Formatter().parse(argument)
        )
        for argument in arguments
    ]


def files_of(arguments: Iterable[str], root: Path) -> list[str]:
    """Return the files of the checkout that a command names, relative to its root, such as the script itself.

    A program that is a link out of the checkout, such as ``.venv/bin/python``, differs between machines and is left out.

    Args:
        arguments: arguments of the command; of ``--option=value``, the value is considered too.
        root: the checkout, in which the command is run.
    """
    program, *given = arguments
    named = _parts(given)
    if (root / program).resolve().is_relative_to(root.resolve()):
        named.insert(0, program)
    inside = [part for part in map(Path, named) if not _leaves_root(part)]
    return list(dict.fromkeys(part.as_posix() for part in inside if (root / part).is_file()))


def file_outside(arguments: Iterable[str], root: Path) -> str | None:
    """Return the first file outside the checkout that a command gives to its program, or None."""
    _, *given = arguments
    return next(
        (part for part in _parts(given) if _leaves_root(Path(part)) and (root / part).is_file()), None
    )


def missing_script(arguments: Iterable[str], root: Path) -> str | None:
    """Return the first Python file of the checkout that a command names and that does not exist, or None."""
    named = (argument for argument in arguments if argument.endswith(".py") and "{" not in argument)
    return next((one for one in named if not _leaves_root(Path(one)) and not (root / one).exists()), None)


def result_in(arguments: Iterable[str]) -> str | None:
    """Return the first path below ``results/`` that a command names, or None."""
    return next((part for part in _parts(arguments) if Path(part).parts[:1] == ("results",)), None)


def _parts(arguments: Iterable[str]) -> list[str]:
    """Return what may be paths: the arguments and, of ``--option=value``, the values."""
    return [part for argument in arguments for part in (argument, argument.partition("=")[2]) if part]


def _leaves_root(path: Path) -> bool:
    return path.is_absolute() or ".." in path.parts


def _placeholders(argument: str) -> list[str]:
    """Return the names in braces.

    Raises:
        ValueError: a brace has no partner, or the braces hold more than a name.
    """
    try:
        parsed = [(name, form, way) for _, name, form, way in Formatter().parse(argument) if name is not None]
    except ValueError as error:
        raise ValueError(
            f"training: command: '{argument}': {error}; write {{{{ and }}}} for braces themselves"
        ) from error
    for name, form, way in parsed:
        if form or way or not name.isidentifier():
            raise ValueError(
                f"training: command: '{argument}': braces must hold one of {', '.join(PLACEHOLDERS)} and nothing else; "
                "write {{ and }} for braces themselves"
            )
    return [name for name, _, _ in parsed]
