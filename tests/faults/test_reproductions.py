"""The reproductions of known faults stay runnable: they import the modules and names that exist now."""

from __future__ import annotations

from faults import reproductions


def test_every_reproduction_can_be_imported_and_has_a_name() -> None:
    assert len(reproductions.R) >= 20
    assert all(callable(reproduction) for reproduction in reproductions.R.values())
