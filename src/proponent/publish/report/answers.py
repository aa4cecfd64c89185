"""The three answers on top of a setting: which method predicts best, how sure that is, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proponent.formatting import duration, size
from proponent.publish.ranking import METRICS, Document, Ranking, value

_NAMED = 4
"""Methods that are named where several share the first rank."""


@dataclass(frozen=True)
class Answer:
    """An answer in a few words, and the sentence that supports it."""

    question: str
    answer: str
    detail: str


def answer(ranking: Ranking, comparisons: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Return the three answers for a setting.

    Args:
        ranking: leaderboard of the setting.
        comparisons: paired comparisons of the setting: ``metric``, ``method_a``, ``method_b``, ``difference``, ``ci_low``,
            ``ci_high`` and ``p_holm``, the last four as numbers.
    """
    questions = ("Which method predicts best?", "How sure is that?", "What does it cost?")
    if not ranking.shown:
        texts = [("not known", "No method has a value on this setting; the reasons are under Coverage.")]
        return [Answer(question, *texts[0]) for question in questions]
    leading = ranking.shown[0]
    ordered = [document for document in ranking.ordered() if leading in document["metrics"]]
    best = ordered[0]
    texts = [
        (best["method"], _quality(best, leading)),
        _certainty(ranking, leading, ordered, comparisons),
        _cost(leading, ordered),
    ]
    return [Answer(question, *text) for question, text in zip(questions, texts, strict=True)]


def _quality(best: Document, metric: str) -> str:
    entry = best["metrics"][metric]
    text = f"{METRICS[metric]} {_number(entry['value'])} {_interval(entry)}"
    if entry.get("lds_over_ceiling") is not None:
        text += (
            f", which is {100 * entry['lds_over_ceiling']:.0f} % of the ceiling {_number(entry['ceiling'])}"
        )
    return f"{text}."


def _certainty(
    ranking: Ranking, metric: str, ordered: Sequence[Document], comparisons: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    """Return whether other methods share the first rank, and how far away the first method outside it is."""
    ranks, best = ranking.ranks[metric], ordered[0]["method"]
    tied = [document["method"] for document in ordered[1:] if ranks[document["method"]] == ranks[best]]
    others = [document["method"] for document in ordered[1:] if ranks[document["method"]] != ranks[best]]
    pairs = {(row["method_a"], row["method_b"]): row for row in comparisons if row["metric"] == metric}
    if len(ordered) == 1:
        short, text = "no comparison", "It is the only method with a value."
    elif tied:
        names = ", ".join(tied[:_NAMED]) + (f" and {len(tied) - _NAMED} more" if len(tied) > _NAMED else "")
        short = f"shared with {len(tied)} other{'s' * (len(tied) > 1)}"
        text = f"The data cannot distinguish it from {names}."
    else:
        short, text = "ahead of all others", ""
    if others and (pair := pairs.get((best, others[0]))):
        text += (
            f" It is {_number(pair['difference'])} {_interval(pair)} better than {others[0]}"
            f" (p {_p_value(pair['p_holm'])}, Holm)."
        )
    entry = ordered[0]["metrics"][metric]
    if "n_subsets" in entry:
        text += (
            f" {entry['n_subsets']} subsets × {entry['n_seeds']} seeds, {entry['n_queries']} test queries."
        )
    return short, text.strip()


def _cost(metric: str, ordered: Sequence[Document]) -> tuple[str, str]:
    """Return the cost of the best method, and the best of the methods that take at most half its time."""
    best = ordered[0]
    cost = best["cost"]
    if cost.get("total_seconds") is None:
        return "not measured", "The scores were made elsewhere."
    text = f"From raw data to scores; {duration(cost['attribution_seconds'])} for the attribution itself"
    if cost.get("peak_memory_mib") is not None:
        text += f", {size(cost['peak_memory_mib'] * 2**20)} of memory, {size(cost['bytes'])} on disk"
    cheaper = [
        document
        for document in ordered[1:]
        if (seconds := document["cost"].get("total_seconds")) is not None
        and seconds <= cost["total_seconds"] / 2
    ]
    if cheaper:
        other = cheaper[0]
        text += (
            f". In at most half the time, {other['method']} reaches {_number(value(other, metric))} in "
            f"{duration(other['cost']['total_seconds'])}"
        )
    return duration(cost["total_seconds"]), f"{text}."


def _p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"= {p:.2g}"


def _number(number: float) -> str:
    return f"{number:.3f}".replace("-", "−")


def _interval(entry: Mapping[str, Any]) -> str:
    return f"[{_number(entry['ci_low'])}, {_number(entry['ci_high'])}]"
