"""Page of a query: what explains a prediction, as one HTML file without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@dataclass(frozen=True)
class Word:
    """A token of a text.

    Attributes:
        text: the word, with the space before it.
        colour: background as a colour of CSS, for contributions; empty without them.
    """

    text: str
    colour: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Contributions of an example's features to the score of a pair.

    Attributes:
        caption: whose features they are.
        picture: address of the picture; empty for a text.
        words: words of a text with colours.
        alternative: text for readers who do not see the picture.
    """

    caption: str
    picture: str = ""
    words: Sequence[Word] = ()
    alternative: str = ""


@dataclass(frozen=True)
class Card:
    """An example or a query.

    Attributes:
        name: identifier in the data: ``train 12``, ``query 3``.
        label: label in words.
        value: score or cosine as text; empty for a query.
        bar: value relative to the largest absolute one of the list, between -1 and 1.
        picture: address of the picture; empty for other inputs than images.
        words: words of a text; empty for others.
        numbers: inputs as text, where they are neither images nor texts.
        surprising: whether it is a proponent of another class, or an opponent of the same one.
        heat_maps: contributions of features, for a pair.
    """

    name: str
    label: str
    value: str = ""
    bar: float = 0.0
    picture: str = ""
    words: Sequence[Word] = ()
    numbers: str = ""
    surprising: bool = False
    heat_maps: Sequence[HeatMap] = ()


@dataclass(frozen=True)
class Section:
    """A list of examples with a heading and a sentence about it."""

    heading: str
    note: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class QueryPage:
    """Everything on the page of one query.

    Attributes:
        setting: name of the setting.
        method: name of the method.
        query: the query.
        predicted: predicted class in words; empty without classes.
        facts: short sentences about the explanation.
        sections: lists of examples.
    """

    setting: str
    method: str
    query: Card
    predicted: str
    facts: Sequence[str]
    sections: Sequence[Section]


def render_page(pages: Sequence[QueryPage]) -> str:
    """Return one HTML page with the explanations of one query or several.

    Args:
        pages: explanations, at least one, of the same setting and method.
    """
    return _template().render(pages=pages, setting=pages[0].setting, method=pages[0].method)


@cache
def _template() -> Template:
    environment: Any = Environment(
        loader=PackageLoader("proponent.publish"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    template: Template = environment.get_template("query.html.j2")
    return template
