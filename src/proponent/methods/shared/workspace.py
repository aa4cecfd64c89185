"""State that the calls of one method share while its hyper-parameters are tried on one member of the ensemble."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Workspace:
    """Announced dampings and one kept value, for all candidates that are tried on one member of the ensemble.

    The caller of a method creates one workspace per member and announces, before each group of candidates that differ
    only in ``damping``, the dampings that it will ask for. A method that can use either lists ``workspace`` among its
    positional arguments. Scores do not depend on the contents of a workspace, except for rounding while a grid is
    announced.

    Args:
        dampings: dampings that are announced from the start.
    """

    def __init__(self, dampings: Sequence[float] = ()) -> None:
        self.dampings = tuple(dampings)
        self._kept: tuple[weakref.ref[Any], Hashable, Any] | None = None

    def announce(self, dampings: Sequence[float]) -> None:
        """Replace the dampings that the next calls will ask for; an empty sequence announces no grid."""
        self.dampings = tuple(dampings)

    def grid_of(self, damping: float) -> tuple[float, ...]:
        """Return the announced grid if it contains ``damping``, otherwise a grid of this value alone."""
        return self.dampings if damping in self.dampings else (damping,)

    def keep(self, owner: object, key: Hashable, make: Callable[[], T]) -> T:
        """Return ``make()``, or the value of the previous call if that had the same owner and key.

        One value is kept at a time, and only while its owner is alive. The previous value is released before the next one
        is made.

        Args:
            owner: the gradients or curvature that the value is computed from.
            key: everything else that the value depends on, including the announced dampings if it depends on them.
            make: computes the value.
        """
        if self._kept is None or self._kept[0]() is not owner or self._kept[1] != key:
            self._kept = None
            self._kept = (weakref.ref(owner, self._releaser()), key, make())
        value: T = self._kept[2]
        return value

    def _releaser(self) -> Callable[[weakref.ref[Any]], None]:
        """Return a callback that does not hold the workspace, which would keep itself and its value alive."""
        workspace = weakref.ref(self)

        def release(dead: weakref.ref[Any]) -> None:
            found = workspace()
            if found is not None and found._kept is not None and found._kept[0] is dead:
                found._kept = None

        return release
