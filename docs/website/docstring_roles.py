"""Extension of Griffe: roles and double backticks of reStructuredText in docstrings become code spans of Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":\w+:`~?(?P<name>[^`<]+?)(?: <[^`>]+>)?`")
_LITERAL = re.compile(r"``(?P<name>[^`]+)``")


class DocstringRoles(Extension):
    """Rewriting of every docstring when its object has been read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Return a docstring with code spans of Markdown: ``:class:`~package.Name``` becomes a span with ``Name``."""
    return _LITERAL.sub(r"`\g<name>`", _ROLE.sub(_span, text))


def _span(role: re.Match[str]) -> str:
    short = role[0].partition("`")[2].startswith(("~", "."))
    name = role["name"].lstrip(".")
    return f"`{name.rpartition('.')[2] if short else name}`"
