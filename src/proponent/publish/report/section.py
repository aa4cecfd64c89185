"""Sections of the report: what the page shows of one setting, as values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from proponent.publish.ranking import METRICS, Document, Ranking, note, reason, shown_rank


@dataclass(frozen=True)
class Item:
    """One example or query in the gallery."""

    row: int
    """Row of the example in the training set, or of the query among the queries."""
    label: str
    picture: str = ""
    """Data URI of an image; empty for data that are not images."""
    text: str = ""
    """The example in words, or its first values where it is neither a picture nor a text."""
    sound: Mapping[str, Any] | None = None
    """What a player needs: ``notes`` (start, pitch, length) and the seconds of a ``sixteenth``, or ``levels`` of bands over
    time (bytes in base64), their centres in ``hertz`` and the ``hop`` between frames in seconds; None without a sound."""
    pieces: Sequence[str] = ()
    """Parts of the text with a contribution each (:attr:`Influence.weights`); empty without contributions."""


@dataclass(frozen=True)
class Influence:
    """One training example among the strongest of a query."""

    row: int
    score: float
    """Score divided by the largest absolute score of the query and method, between -1 and 1."""
    surprising: bool
    """Whether it is a proponent with another label, or an opponent with the query's label."""
    heat: tuple[str, str] | None = None
    """Data URIs of the heat maps of the query and of the example, over their pictures; None without an explanation."""
    weights: tuple[Sequence[int], Sequence[int]] | None = None
    """Contributions of the parts of the texts of the query and of the example, from -100 to 100; None without them."""


@dataclass(frozen=True)
class Strongest:
    """The strongest training examples of one query by one method, strongest first."""

    proponents: Sequence[Influence]
    opponents: Sequence[Influence]


@dataclass(frozen=True)
class Gallery:
    """Queries of a setting with their strongest examples by several methods, the best method first."""

    methods: Sequence[str]
    queries: Sequence[Item]
    examples: Mapping[str, Item]
    """Every training example that the gallery shows, by its row: each is on the page once."""
    strongest: Mapping[str, Sequence[Strongest]]
    """One entry per query, by method."""


@dataclass(frozen=True)
class Suspicious:
    """Training examples whose labels are probably wrong, the most suspicious first."""

    method: str
    order: str
    """The quantity by which they are sorted: ``self-influence`` or ``minus the mean score``."""
    rows: Sequence[int]
    known: Mapping[str, bool] | None = None
    """Whether the label of each row is known to be flipped; None where the setting does not flip labels."""
    found: str = ""
    """How many of the known flips are among the rows, as a sentence."""


@dataclass(frozen=True)
class Everywhere:
    """Training examples that are strong proponents of many queries, the most frequent first."""

    method: str
    rows: Sequence[int]
    counts: Mapping[str, int]
    """Number of queries by row."""
    queries: int
    """Number of all queries."""
    carried: str
    """How few examples carry the score of a query, as a sentence."""


@dataclass(frozen=True)
class Cluster:
    """Similar training examples."""

    name: str
    """Number of examples and their mean cosine, in words."""
    rows: Sequence[int]
    """The most typical examples."""


@dataclass(frozen=True)
class ClusterGroup:
    """A division of training examples into clusters."""

    name: str
    """Which examples are divided, and by what."""
    clusters: Sequence[Cluster]


@dataclass(frozen=True)
class Origin:
    """How one artefact was made."""

    artefact: str
    step: str
    key: str
    commit: str
    created: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Section:
    """Everything that the page shows of one setting; all values are those of JSON."""

    setting: str
    description: str = ""
    failed: str = ""
    """Why the setting has no results; empty otherwise."""
    facts: Mapping[str, str] = field(default_factory=dict)
    answers: Sequence[Mapping[str, str]] = ()
    """:class:`~proponent.publish.report.answers.Answer` as mappings."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Name for people of each metric, the leading one first."""
    rows: Sequence[Mapping[str, Any]] = ()
    """One row per method and metric."""
    coverage: Sequence[Mapping[str, str]] = ()
    """``method``, ``kind``, ``state`` (``ran``, ``left out`` or ``failed``) and ``note`` of each method."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Reason by metric that the setting does not have."""
    charts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """:class:`~proponent.publish.report.chart.Chart` as mappings, by name."""
    gallery: Mapping[str, Any] | None = None
    suspicious: Mapping[str, Any] | None = None
    everywhere: Mapping[str, Any] | None = None
    """:class:`Everywhere` as a mapping."""
    clusters: Sequence[Mapping[str, Any]] = ()
    """:class:`ClusterGroup` as mappings; their examples are among those of the gallery."""
    without_heat: Mapping[str, str] = field(default_factory=dict)
    """Reason by method for which the gallery has no heat maps of it."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What a good value means, one sentence per metric."""
    card: str | None = None
    """Name of the card of the dataset."""
    origins: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of each third-party distribution that the results depend on."""

    def content(self) -> dict[str, Any]:
        """Return the section as JSON values."""
        return asdict(self)


def failed_section(setting: str, description: str, why: str) -> Section:
    """Return the section of a setting without results."""
    return Section(setting, description, failed=why)


def metric_names(ranking: Ranking) -> dict[str, str]:
    """Return the names for people of the metrics of a setting, those that tables show first."""
    others = sorted(set(ranking.ranks).difference(METRICS))
    return {name: METRICS.get(name, name) for name in [*ranking.shown, *others]}


def leaderboard_rows(ranking: Ranking, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row per method and metric of a setting, with values, ranks and cost.

    Args:
        ranking: leaderboard of the setting.
        kinds: kind of each method.
    """
    rows = []
    for document in ranking.ordered():
        method, cost = document["method"], document["cost"]
        for metric, entry in document["metrics"].items():
            ranks = ranking.ranks[metric]
            rows.append(
                {
                    "method": method,
                    "kind": kinds.get(method, ""),
                    "metric": metric,
                    **{name: _short(entry.get(name)) for name in ("value", "ci_low", "ci_high", "ceiling")},
                    "rank": ranks[method],
                    "shown_rank": shown_rank(ranks, method),
                    "attribution_seconds": cost.get("attribution_seconds"),
                    "total_seconds": cost.get("total_seconds"),
                    "peak_memory_mib": cost.get("peak_memory_mib"),
                    "bytes": cost.get("bytes"),
                    "note": note(document),
                }
            )
    return rows


def coverage(ranking: Ranking, kinds: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the state of every method on a setting, with the reason of each gap and the notes about values."""
    return [
        {
            "method": document["method"],
            "kind": kinds.get(document["method"], ""),
            "state": _state(document),
            "note": note(document),
        }
        for document in ranking.documents
    ]


def _state(document: Document) -> str:
    if not reason(document):
        return "ran"
    return "left out" if "left_out" in document else "failed"


def _short(value: float | None) -> float | None:
    """Return a value with five significant digits, which keeps the page small."""
    return None if value is None or value != value else float(f"{value:.5g}")
