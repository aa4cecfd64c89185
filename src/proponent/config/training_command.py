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

    Args:
        arguments: arguments of the command; of ``--option=value``, the value is considered too.
        root: the checkout, in which the command is run.
    """
    parts = [Path(part) for argument in arguments for part in (argument, argument.partition("=")[2]) if part]
    inside = [part for part in parts if not part.is_absolute() and ".." not in part.parts]
    return list(dict.fromkeys(part.as_posix() for part in inside if (root / part).is_file()))


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
