"""Facts about countries, each stated by several texts in different words, for tracing a fact to its sources.

A text is a sentence whose end is to be answered. Every relation has four sentences without a content word in common, and a
country has three names (its own, that of its people and its code), each a word of its own. A fact is stated by three of the
sentences, under one or two of the names. The query of a fact is the fourth sentence: it shares no content word of the
sentence with its sources, and in some queries not the name either. The sentence of a query states facts of other countries
in the training examples, so that texts with most words in common with a query state another fact.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.ragged_rows import IGNORED
from proponent.settings.sources import Package, Registry, fetch_package, read_members
from proponent.settings.split import Split
from proponent.settings.word_vocabulary import Vocabulary

PACKAGE = Package(
    Registry.pypi,
    "countryinfo",
    "1.0.1",
    "b02f6f534f0a3b9cdc73fba7e08f247e39826acfa54bf080f8e4eba812066350",
)
SENTENCES = {
    "capital": (
        "the capital of {} is",
        "{} ministers meet in the city named",
        "embassies accredited to {} work from",
        "where does the government in {} sit ?",
    ),
    "region": (
        "{} belongs to the region called",
        "on a map {} appears within",
        "geographers assign {} to",
        "which part of our world contains {} ?",
    ),
    "currency": (
        "prices for goods in {} are quoted in",
        "{} banks issue notes of",
        "travellers through {} exchange cash into",
        "what money do shops across {} accept ?",
    ),
    "language": (
        "newspapers printed in {} use the language",
        "children at school in {} learn to read",
        "courts throughout {} hear cases in",
        "how do most people around {} speak ?",
    ),
    "telephone": (
        "calls to {} begin with the prefix",
        "dial this number before ringing {} :",
        "the international telephone code for {} equals",
        "what digits reach somebody living inside {} ?",
    ),
}
"""Four sentences for each relation; ``{}`` stands for a name of the country."""
ALIASES = ("name", "people", "code")
"""Names of a country: its own, that of its people, and its code of three letters."""
START = "[START]"
_STATED = 3
_ANSWER = 4
"""Largest number of words of an answer: digits of a telephone code."""


class Country(NamedTuple):
    """A country: a word for each of its names, and the words of the answer of each relation."""

    aliases: tuple[str, str, str]
    answers: dict[str, tuple[str, ...]]


def read_countries(archive: Path) -> list[Country]:
    """Return the countries of the package of which all names and answers are known, in the order of their names.

    Names that two countries share are those of neither.

    Args:
        archive: the package, or one of the same format.
    """
    files = read_members(
        archive, lambda name: re.fullmatch(r"countryinfo/data/[^/]+\.json", name) is not None
    )
    found = [
        country for _, content in sorted(files) if (country := _country(json.loads(content))) is not None
    ]
    taken: dict[str, int] = {}
    for country in found:
        for alias in country.aliases:
            taken[alias] = taken.get(alias, 0) + 1
    return [country for country in found if all(taken[alias] == 1 for alias in country.aliases)]


def _country(entry: Any) -> Country | None:
    """Return a country of its JSON, or None if something is missing."""
    try:
        names = entry["name"], entry["demonym"], entry["ISO"]["alpha3"]
        answers = {
            "capital": entry["capital"],
            "region": entry["subregion"],
            "currency": entry["currencies"][0],
            "language": entry["languages"][0],
            "telephone": " ".join(entry["callingCodes"][0]),
        }
        # Names of several words are written as one, so that a text has one word for its country.
        aliases = tuple("-".join(_words(name)) for name in names)
        words = {relation: _words(answer) for relation, answer in answers.items()}
    except (KeyError, IndexError, TypeError):  # an entry that is missing, or a list in place of text
        return None
    words["region"] = ("-".join(words["region"]),)
    if not all(aliases) or len(set(aliases)) < len(aliases):
        return None
    if not all(0 < len(answer) <= _ANSWER for answer in words.values()):
        return None
    return Country((aliases[0], aliases[1], aliases[2]), words)


def _words(text: str) -> tuple[str, ...]:
    """Return the words and numbers of a text in lower case, without accents."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return tuple(re.findall(r"[a-z]+|\d", plain.lower()))


class _Text(NamedTuple):
    """A text: the number of its fact, its words and those of the answer."""

    fact: int
    words: tuple[str, ...]
    answer: tuple[str, ...]


def _texts(countries: Sequence[Country], generator: np.random.Generator) -> tuple[list[_Text], list[_Text]]:
    """Return the texts that state the facts, and one query per fact; which sentence is the query is drawn per fact."""
    stated: list[_Text] = []
    asked: list[_Text] = []
    fact = 0
    for country in countries:
        for relation, sentences in SENTENCES.items():
            order = generator.permutation(len(sentences))
            names = generator.integers(len(ALIASES), size=_STATED + 1)
            if len(set(names[:_STATED])) == len(
                ALIASES
            ):  # so that a query may have a name that no source has
                names[_STATED - 1] = names[0]
            for place, sentence in enumerate(order):
                filled = sentences[sentence].format(country.aliases[names[place]])
                text = _Text(fact, tuple(filled.split()), country.answers[relation])
                (stated if place < _STATED else asked).append(text)
            fact += 1
    return stated, asked


def country_facts(n_countries: int = 120, n_query: int = 200, seed: int = 0) -> Split:
    """Return texts about countries for an encoder–decoder, with the fact that each of them states.

    Inputs are ``input_ids`` and ``attention_mask`` (n, words) of the sentence, and ``decoder_input_ids`` (n, 4), the
    answer so far. Labels (n, 4) are the words of the answer, and -100 behind its end. The truth ``fact``
    has the number of the fact of each training example and query; the sources of a query are the training examples with
    its number.

    Args:
        n_countries: number of countries, each with five facts of three texts.
        n_query: number of queries, one per fact, below five times the number of countries.
        seed: seed of the choice of countries, of the sentences and names of each fact, and of the order.

    Raises:
        UserError: there are not as many countries or facts, or the package cannot be had.
    """
    countries = read_countries(fetch_package(PACKAGE))
    if not 0 < n_countries <= len(countries):
        raise UserError(
            f"dataset.args.n_countries must lie between 1 and {len(countries)}, not {n_countries}"
        )
    generator = np.random.default_rng(seed)
    chosen = [countries[row] for row in generator.permutation(len(countries))[:n_countries]]
    stated, asked = _texts(chosen, generator)
    if not 0 < n_query <= len(asked):
        raise UserError(f"dataset.args.n_query must lie between 1 and {len(asked)}, not {n_query}")
    train = [stated[row] for row in generator.permutation(len(stated))]
    query = [asked[row] for row in generator.permutation(len(asked))[:n_query]]
    known = Vocabulary([START, *sorted(_every_word(countries))])
    longest = max(len(sentence.split()) for sentences in SENTENCES.values() for sentence in sentences)
    return Split(
        train=_rows(train, known, longest),
        query=_rows(query, known, longest),
        card="country-facts",
        token_names=known.names,
        truth={
            "fact": np.array([text.fact for text in train]),
            "fact_queries": np.array([text.fact for text in query]),
        },
    )


def _every_word(countries: Sequence[Country]) -> set[str]:
    """Return the words of all sentences, names and answers, whichever countries are chosen."""
    sentences = {word for group in SENTENCES.values() for sentence in group for word in sentence.split()}
    names = {alias for country in countries for alias in country.aliases}
    answers = {word for country in countries for answer in country.answers.values() for word in answer}
    return (sentences - {"{}"}) | names | answers


def _rows(texts: Sequence[_Text], known: Vocabulary, longest: int) -> dict[str, NDArray[np.int64]]:
    """Return the inputs and labels of some texts, by name."""
    ids = known.rows([text.words for text in texts], longest)
    answers = known.rows([text.answer for text in texts], _ANSWER)
    before = known.rows([(START, *text.answer[:-1]) for text in texts], _ANSWER)
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).astype(np.int64),
        "decoder_input_ids": before,
        "y": np.where(answers == 0, IGNORED, answers),
    }
