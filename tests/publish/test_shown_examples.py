"""Examples of text and music as people read, see and hear them."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.publish.examples import (
    PlayedNote,
    as_html,
    as_text,
    is_music,
    notes_of,
    piano_roll,
    token_input,
    token_pieces,
    wav_bytes,
)
from proponent.publish.examples.synthesised_sound import RATE
from proponent.publish.figures.piano_roll_figure import draw_piano_roll

WORDS = ["[PAD]", "[UNK]", "we", "play", "##ed", "<b>"]
MUSIC = ["[PAD]", "[START]", "step 4", "length 2", "length 8", "pitch 69", "pitch 57"]


@pytest.mark.parametrize(
    "names, row, text",
    [
        (WORDS, [2, 3, 4, 1, 0, 0], "we played [UNK]"),
        (["[PAD]", "[START]", "a", "\n", " "], [1, 2, 3, 4, 2, 0], "a\n a"),
        (["<pad>", "Ġthe", "Ġplay", "ed", "."], [1, 2, 3, 4, 0], "the played."),
        (WORDS, [-100, 2], "we"),
        (WORDS, [0, 0], ""),
    ],
)
def test_tokens_are_joined_to_text(names, row, text):
    assert as_text(row, names) == text


def test_tokens_are_highlighted_by_their_weights():
    found = as_html([2, 3, 4, 5, 0], WORDS, [0.0, 2.0, -1.0, 0.5, 9.0])
    assert found == (
        'we <mark class="positive" style="background: rgba(0, 114, 178, 0.75); color: inherit" title="+2">play</mark>'
        '<mark class="negative" style="background: rgba(213, 94, 0, 0.38); color: inherit" title="-1">ed</mark>'
        ' <mark class="positive" style="background: rgba(0, 114, 178, 0.19); color: inherit" title="+0.5">&lt;b&gt;</mark>'
    ), "padding is left out of the scale, and names are escaped"


def test_mistakes_about_tokens_are_named():
    with pytest.raises(UserError, match=r"token numbers \(length,\) below 6, not shape \(1,\) up to 6"):
        as_text([6], WORDS)
    with pytest.raises(
        UserError, match=r"weights of tokens must be finite numbers of shape \(2,\), not \(1,\)"
    ):
        as_html([2, 3], WORDS, [1.0])


def test_notes_of_tokens_by_hand():
    assert is_music(MUSIC) and not is_music(WORDS)
    found = notes_of([1, 5, 3, 6, 2, 2, 4, 6, 4, 0, -100], MUSIC)
    assert found == [PlayedNote(0, 69, 2), PlayedNote(0, 57, 4), PlayedNote(8, 57, 8)], (
        "a length needs its pitch"
    )


def test_a_piano_roll_by_hand():
    roll = piano_roll([PlayedNote(0, 60, 2), PlayedNote(1, 62, 1), PlayedNote(2, 60, 1)])
    assert roll.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0.7, 1]]
    assert piano_roll([]).tolist() == [[0]]
    figure = draw_piano_roll([PlayedNote(0, 60, 2), PlayedNote(1, 62, 1)], "a piece")
    (axes,) = figure.axes
    assert [(box.get_x(), box.get_y(), box.get_width()) for box in axes.patches] == [
        (0, 59.5, 0.5),
        (0.25, 61.5, 0.25),
    ]


def test_the_sound_of_a_note_has_its_pitch_and_its_time():
    """Of a silent quarter and an A of 440 Hz, the strongest frequency is 440 Hz, and the silence is silent."""
    content = wav_bytes([PlayedNote(4, 69, 8)], quarters_per_minute=60)
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert not samples[: RATE - 1].any() and samples[RATE + 100 :].any()
    assert 0.89 * 32767 < np.abs(samples).max() <= 0.9 * 32767
    spectrum = np.abs(np.fft.rfft(samples[RATE : 3 * RATE]))
    assert abs(np.argmax(spectrum) / 2 - 440) <= 1
    assert len(wav_bytes([PlayedNote(0, 69, 8)], seconds=0.5)) == 44 + 2 * RATE // 2
    assert len(wav_bytes([])) > 44
    with pytest.raises(UserError, match="must be positive, not 0 and 12"):
        wav_bytes([], quarters_per_minute=0)


def test_masks_and_states_are_not_read_as_tokens():
    ids, mask, states = np.array([[2, 3]]), np.array([[1, 1]]), np.ones((1, 2, 4))
    assert token_input({"states": states, "attention_mask": mask, "input_ids": ids}) == "input_ids"
    assert token_input({"image": states, "other_titles": ids, "title": ids}) == "title"
    assert token_input({"": ids}) == ""
    assert token_input({"x": states}) is None
    assert token_input({"first": ids, "second": ids}) is None, "neither is known to be the text"


def test_pieces_join_to_the_text():
    row = [0, 2, 3, 4, 1, 0]
    pieces = token_pieces(row, WORDS)
    assert [place for place, _ in pieces] == [1, 2, 3, 4]
    assert "".join(piece for _, piece in pieces) == as_text(row, WORDS)
