"""Examples of text and music as people read, see and hear them; inputs are token numbers and the names of the tokens."""

from proponent.publish.examples.event_notes import PlayedNote, is_music, notes_of
from proponent.publish.examples.piano_roll import piano_roll
from proponent.publish.examples.synthesised_sound import wav_bytes
from proponent.publish.examples.token_text import as_html, as_text, shown_tokens, token_input, token_pieces

__all__ = [
    "PlayedNote",
    "as_html",
    "as_text",
    "is_music",
    "notes_of",
    "piano_roll",
    "shown_tokens",
    "token_input",
    "token_pieces",
    "wav_bytes",
]
