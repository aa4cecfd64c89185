"""Commands to a voice assistant, spoken by eSpeak NG in many voices, at several rates and pitches; labels are intents."""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import product

import numpy as np

from proponent.errors import UserError
from proponent.settings.datasets.espeak import Utterance, speak
from proponent.settings.datasets.spectrograms import spectrogram_split
from proponent.settings.split import Split

SLOTS = {
    "time": ["six", "seven thirty", "eight o'clock", "noon", "ten fifteen", "half past nine"],
    "duration": ["two minutes", "ten minutes", "half an hour", "forty seconds", "an hour", "five minutes"],
    "room": ["kitchen", "bedroom", "hall", "living room", "garden"],
    "music": ["some jazz", "the radio", "my playlist", "a song", "piano music"],
    "day": ["today", "tomorrow", "on sunday", "this evening", "next week"],
    "person": ["anna", "my brother", "doctor brown", "the office", "maria"],
}
TEMPLATES = {
    "set alarm": ["set an alarm for {time}", "wake me up at {time}", "alarm at {time} please"],
    "stop alarm": [
        "disable my alarm",
        "cancel the alarm",
        "turn off the {time} alarm",
        "delete my {time} alarm",
    ],
    "set timer": ["set a timer for {duration}", "start a timer of {duration}", "timer for {duration} please"],
    "stop timer": ["stop the timer", "cancel my timer", "turn off the timer of {duration}"],
    "lights on": [
        "turn on the lights in the {room}",
        "switch the {room} lights on",
        "lights on in the {room}",
    ],
    "lights off": [
        "turn off the lights in the {room}",
        "switch the {room} lights off",
        "lights off in the {room}",
    ],
    "play": ["play {music}", "i want to hear {music}", "put on {music}"],
    "weather": ["what is the weather {day}", "will it rain {day}", "how warm will it be {day}"],
    "call": ["call {person}", "phone {person} please", "i want to talk to {person}"],
}
LANGUAGES = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp")
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5",
    "adam", "anika", "belinda", "john", "linda", "paul", "robert", "steph", "victor",
)  # fmt: skip
RATES = (140, 160, 180, 200)
PITCHES = (30, 45, 60)


def sentences(intent: str) -> list[str]:
    """Return the sentences of an intent, in the order of its templates and of their slots."""
    return [sentence for template in TEMPLATES[intent] for sentence in _filled(template)]


def _filled(template: str) -> Iterator[str]:
    slots = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    for values in product(*(SLOTS[slot] for slot in slots)):
        yield template.format(**dict(zip(slots, values, strict=True)))


def utterances(n: int, seed: int) -> list[tuple[Utterance, int]]:
    """Return ``n`` different utterances with their labels, as many of each intent as of the others, up to one.

    A template is drawn first, so that one with many slots is not more frequent; then its slots and how it is spoken.

    Args:
        n: number of utterances.
        seed: seed of the draws.
    """
    generator = np.random.default_rng(seed)
    found: dict[Utterance, int] = {}
    labels = list(TEMPLATES)
    while len(found) < n:
        label = len(found) % len(labels)
        template = str(generator.choice(TEMPLATES[labels[label]]))
        voice = f"{generator.choice(LANGUAGES)}+{generator.choice(VARIANTS)}"
        text = str(generator.choice(list(_filled(template))))
        spoken = Utterance(text, voice, int(generator.choice(RATES)), int(generator.choice(PITCHES)))
        found.setdefault(spoken, label)
    return list(found.items())


def spoken_intents(
    n_train: int = 2000, n_query: int = 500, bands: int = 32, frames: int = 80, seed: int = 0
) -> Split:
    """Return log-mel spectrograms of spoken commands, (1, bands, frames) each, and their intents.

    Queries are utterances of their own, but voices and sentences are those of the training examples: another rate or pitch
    of the same sentence may be among them.

    Args:
        n_train: number of training examples.
        n_query: number of queries.
        bands: bands of the spectrograms.
        frames: frames of the spectrograms (:mod:`proponent.settings.log_mel`); 80 are 2.6 seconds.
        seed: seed of the utterances and of their order.

    Raises:
        UserError: a number is not positive, or eSpeak NG is not available.
    """
    if min(n_train, n_query) < 1:
        raise UserError(f"dataset.args: n_train and n_query must be positive, not {n_train} and {n_query}")
    drawn = utterances(n_train + n_query, seed)
    speech = speak([utterance for utterance, _ in drawn])
    return spectrogram_split(
        [(samples, speech.rate) for samples in speech.samples],
        [label for _, label in drawn],
        n_train,
        seed,
        bands=bands,
        frames=frames,
        class_names=list(TEMPLATES),
        card="spoken-intents",
    )
