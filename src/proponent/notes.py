"""Notes: statements about what the numbers of a method are, which its row, its manifest and its log repeat.

A method or the reader of its inputs emits one with ``warnings.warn(text, Note, stacklevel=2)``, for example where a solver
has not converged. The text is one clause that is true of the final scores, without the name of the method.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NUMBER = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?")


class Note(UserWarning):
    """A statement about what a method's numbers are."""


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the notes that are emitted inside the block, in order, and print each to the log.

    Notes that differ only in their numbers, as those of several members do, are collected once: the first of them.
    Other warnings are shown as usual.
    """
    notes: list[str] = []
    kinds: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        show = warnings.showwarning

        def keep(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, Note):
                show(message, category, *rest, **more)
                return
            kind = _NUMBER.sub("#", str(message))
            if kind not in kinds:
                kinds.add(kind)
                notes.append(str(message))
                print(f"note: {message}", file=sys.stderr, flush=True)

        warnings.showwarning = keep
        yield notes
