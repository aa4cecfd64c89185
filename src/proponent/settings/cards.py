"""Cards of datasets: origin, licence, digest, counts and known defects, kept as YAML so that tables and reports show them.

``data_cards/NAME.yaml`` next to this module holds the card NAME. A dataset factory names its card in
:class:`~proponent.settings.split.Split`, and the manifest of the data repeats the name. A card describes data and changes
none, so it is part of no content key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from proponent.config.load import nearest, structured
from proponent.config.yaml_reader import read_yaml
from proponent.errors import UserError

_FOLDER = Path(__file__).parent / "data_cards"


@dataclass
class DataCard:
    """What a reader of results should know of a dataset."""

    title: str
    origin: str
    """Who made the data, and where they were published."""
    licence: str
    package: str
    """Package that holds the data: its registry, name and version."""
    counts: dict[str, int]
    """Numbers of examples of the whole dataset, by part or class."""
    sha256: str | None = None
    """Digest of the package's archive; None where an installed package holds the data."""
    defects: list[str] = field(default_factory=list)
    """Known defects, such as duplicates and doubtful labels."""


def card_names() -> list[str]:
    """Return the names of all cards."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_card(name: str) -> DataCard:
    """Return a card.

    Raises:
        UserError: there is no card of this name, or it is malformed.
    """
    path = _FOLDER / f"{name}.yaml"
    if name not in card_names():
        raise UserError(f"no data card '{name}'{nearest(name, card_names())}; leave 'card' out of the Split")
    return structured(DataCard, read_yaml(path), f"data card {name}")
