"""Program that speaks texts with the shared library of eSpeak NG, through its C interface (speak_lib.h).

It is run as a file of its own and imports nothing of the package: ``python espeak_worker.py LIBRARY DATA SAMPLES`` reads a
JSON list of ``[text, voice, rate, pitch]`` from its input, writes the samples of all utterances to the file SAMPLES (int16,
one after the other), and prints ``{"rate": samples per second, "lengths": samples per utterance}``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

_RETRIEVAL = 1
"""AUDIO_OUTPUT_RETRIEVAL: samples go to the callback, and nothing is played."""
_RATE, _PITCH = 1, 3
"""espeakRATE (words per minute) and espeakPITCH (0 to 100)."""
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """Speech synthesis.

    Args:
        library: shared library of eSpeak NG.
        folder: folder that contains its ``espeak-ng-data``.

    Raises:
        OSError: the library cannot be loaded, or finds no data.
    """

    def __init__(self, library: str, folder: str) -> None:
        self._library = ctypes.CDLL(library)
        self._variants = Path(folder, "espeak-ng-data", "voices", "!v")
        self.rate: int = self._library.espeak_Initialize(_RETRIEVAL, 0, folder.encode(), 0)
        if self.rate <= 0:
            raise OSError(f"espeak-ng finds no data in {folder}")
        self._samples = bytearray()
        self._callback = _CALLBACK(self._receive)  # the library keeps a pointer to it
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: int | None, count: int, events: Any) -> int:
        """Add samples of the library; 0 tells it to continue."""
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, text: str, voice: str, rate: int, pitch: int) -> bytes:
        """Return the samples of an utterance, int16 in the order of the machine.

        Args:
            text: text in the language of the voice.
            voice: name of a voice, such as ``en-us+f2``.
            rate: words per minute.
            pitch: from 0 to 100.

        Raises:
            OSError: the voice is not known, or the library fails.
        """
        self._samples.clear()
        variant = voice.partition("+")[2]
        if not (self._variants / variant).exists() or self._library.espeak_SetVoiceByName(voice.encode()):
            raise OSError(f"espeak-ng has no voice '{voice}'")
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._library.espeak_ng_SetRandSeed(1)  # otherwise that of the clock, for the noise in a voice
        content = text.encode() + b"\0"
        size = ctypes.c_size_t(len(content))
        if self._library.espeak_Synth(content, size, 0, 1, 0, _UTF8, None, None):
            raise OSError(f"espeak-ng cannot speak '{text}'")
        self._library.espeak_Synchronize()
        return bytes(self._samples)


def main(library: str, folder: str, samples: str) -> None:
    """Speak the utterances of the standard input."""
    speaker = Speaker(library, folder)
    lengths = []
    with Path(samples).open("wb") as stream:
        for utterance in json.load(sys.stdin):
            spoken = speaker.say(*utterance)
            lengths.append(len(spoken) // 2)
            stream.write(spoken)
    print(json.dumps({"rate": speaker.rate, "lengths": lengths}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
