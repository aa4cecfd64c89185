"""Chorales from their package, and scores written by hand."""

from __future__ import annotations

import pytest

from archive_writers import place_package, zip_bytes
from proponent.errors import UserError
from proponent.settings.cards import read_card
from proponent.settings.datasets import chorales as module
from proponent.settings.datasets.chorales import chorales, read_chorales
from proponent.settings.datasets.music_events import NAMES, events, windows
from proponent.settings.datasets.musicxml import Note, read_parts
from proponent.settings.sources import Registry, fetch_package
from registry_data import need_package


def note(pitch: str, duration: int, more: str = "") -> str:
    step, alter, octave = pitch[0], {"#": 1, "b": -1}.get(pitch[1:-1], 0), pitch[-1]
    return (
        f"<note>{more}<pitch><step>{step}</step><alter>{alter}</alter><octave>{octave}</octave></pitch>"
        f"<duration>{duration}</duration></note>"
    )


def score(*parts: str) -> bytes:
    """Return a compressed score with two units of time per quarter note."""
    start = "<attributes><divisions>2</divisions></attributes>"
    bodies = "".join(f"<part>{part.replace('<measure>', f'<measure>{start}', 1)}</part>" for part in parts)
    content = f'<?xml version="1.0"?><score-partwise>{bodies}</score-partwise>'
    return zip_bytes({"META-INF/container.xml": b"<container/>", "piece.xml": content.encode()})


def test_notes_of_a_score_by_hand():
    upper = (
        f"<measure>{note('C4', 2)}{note('E4', 2, '<chord/>')}<note><rest/><duration>2</duration></note></measure>"
        f"<measure>{note('F#4', 4, '<grace/>').replace('<duration>4</duration>', '')}{note('Bb3', 3)}"
        f"{note('A3', 1, '')}<backup><duration>2</duration></backup>{note('C5', 1)}</measure>"
    )
    held = note("G3", 4).replace("</note>", '<tie type="start"/></note>')
    more = note("G3", 2).replace("</note>", '<tie type="stop"/></note>')
    lower = f"<measure>{held}</measure><measure>{more}<forward><duration>1</duration></forward>{note('G3', 1)}</measure>"
    first, second = read_parts(score(upper, lower), "piece.mxl")
    assert first == [Note(0, 60, 4), Note(0, 64, 4), Note(8, 58, 6), Note(14, 57, 2), Note(12, 72, 2)]
    assert second == [Note(0, 55, 12), Note(14, 55, 2)]


def test_a_file_other_than_a_score_is_named():
    for content in (b"no zip", zip_bytes({"a.xml": b"<score-timewise/>"}), zip_bytes({"a.xml": b"<open>"})):
        with pytest.raises(UserError, match=r"piece.mxl: is not a MusicXML score of parts \(.*\); remove it"):
            read_parts(content, "piece.mxl")


def test_events_by_hand():
    notes = [Note(0, 60, 4), Note(0, 64, 40), Note(0, 64, 40), Note(38, 55, 1), Note(0, 10, 4)]
    found = [[NAMES[token] for token in time] for time in events(notes)]
    assert found == [
        ["pitch 64", "length 16", "pitch 60", "length 4"],
        ["step 16", "step 16", "step 6", "pitch 55", "length 1"],
    ]


def test_parts_of_a_piece_have_whole_times_and_begin_without_steps():
    times = events([Note(4 * place, 60 + place, 4) for place in range(5)])
    found = [[NAMES[token] for token in part] for part in windows(times, 6)]
    assert found == [
        ["pitch 60", "length 4", "step 4", "pitch 61", "length 4"],
        ["pitch 62", "length 4", "step 4", "pitch 63", "length 4"],
        ["pitch 64", "length 4"],
    ]


def test_queries_are_of_pieces_of_which_nothing_is_trained_on(tmp_path, monkeypatch):
    steps = "CDEFGAB"
    files = {
        f"music21/corpus/bach/bwv{number}.mxl": score(
            *(
                "<measure>" + note(f"{steps[number]}{octave}", 4) * 12 + "</measure>"
                for octave in (5, 4, 3, 2)
            )
        )
        for number in range(5)
    }
    files["music21/corpus/bach/duo.mxl"] = score("<measure>" + note("B4", 4) + "</measure>")
    files["music21/corpus/haydn/a.mxl"] = b"no score"
    place_package(module, Registry.pypi, files, tmp_path, monkeypatch)
    split = chorales(n_train=6, n_query=2, length=24, held_out=0.4)

    def pitches(y):
        return {NAMES[token] for token in y.flatten() if token >= 0 and NAMES[token].startswith("pitch")}

    assert not pitches(split.train[1]) & pitches(split.query[1])
    assert split.train[0].shape == (6, 24) and split.token_names == NAMES
    with pytest.raises(UserError, match=r"dataset\.args\.n_query must lie between 1 and 12, not 13"):
        chorales(n_train=6, n_query=13, length=24, held_out=0.4)


@pytest.mark.slow
def test_the_card_of_the_chorales_is_true():
    need_package(module.PACKAGE)
    pieces, card = read_chorales(fetch_package(module.PACKAGE)), read_card("chorales")
    assert (card.sha256, card.package) == (module.PACKAGE.sha256, str(module.PACKAGE))
    notes = sum(NAMES[token].startswith("pitch") for piece in pieces for time in piece for token in time)
    assert card.counts == {"chorales in four parts": len(pieces), "notes": notes}
