"""State that the calls of one method share while its hyper-parameters are tried on one member of the ensemble."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Workspace:
    """Announced dampings and kept values, for all candidates that are tried on one member of the ensemble.

    The caller of a method creates one workspace per member and announces, before each group of candidates that differ
    only in ``damping``, the dampings that it will ask for. A method that can use either lists ``workspace`` among its
    positional arguments. Scores do not depend on the contents of a workspace, except for rounding while a grid is
    announced.

    A value that depends on training examples alone is kept for their gradients, and one that depends on the queries for
    theirs: then a workspace may also outlive the queries, and the next ones find what was computed for the training set.

    Args:
        dampings: dampings that are announced from the start.
        find: function from an owner and a key to a value that was kept elsewhere, or None; it is asked before a value is
            made.
    """

    def __init__(
        self, dampings: Sequence[float] = (), find: Callable[[object, Hashable], Any] | None = None
    ) -> None:
        self.dampings = tuple(dampings)
        self._find = find
        self._kept: dict[int, tuple[weakref.ref[Any], Hashable, Any]] = {}

    def announce(self, dampings: Sequence[float]) -> None:
        """Replace the dampings that the next calls will ask for; an empty sequence announces no grid."""
        self.dampings = tuple(dampings)

    def grid_of(self, damping: float) -> tuple[float, ...]:
        """Return the announced grid if it contains ``damping``, otherwise a grid of this value alone."""
        return self.dampings if damping in self.dampings else (damping,)

    def keep(self, owner: object, key: Hashable, make: Callable[[], T]) -> T:
        """Return ``make()``, or the value of the previous call for the same owner if that had the same key.

        One value is kept per owner, and only while the owner is alive. The previous value is released before the next one
        is made.

        Args:
            owner: the gradients or representations that the value is computed from.
            key: everything else that the value depends on, including the announced dampings if it depends on them.
            make: computes the value.
        """
        number = id(owner)
        if number not in self._kept or self._kept[number][1] != key:
            self._kept.pop(number, None)
            found = None if self._find is None else self._find(owner, key)
            value = make() if found is None else found
            self._kept[number] = (weakref.ref(owner, self._releaser(number)), key, value)
        kept: T = self._kept[number][2]
        return kept

    def items(self) -> list[tuple[object, Hashable, Any]]:
        """Return the owners that are alive, with the key and the value that is kept for each."""
        alive = [(reference(), key, value) for reference, key, value in self._kept.values()]
        return [item for item in alive if item[0] is not None]

    def _releaser(self, number: int) -> Callable[[weakref.ref[Any]], None]:
        """Return a callback that does not hold the workspace, which would keep itself and its values alive."""
        workspace = weakref.ref(self)

        def release(dead: weakref.ref[Any]) -> None:
            found = workspace()
            if found is not None and number in found._kept and found._kept[number][0] is dead:
                del found._kept[number]

        return release
