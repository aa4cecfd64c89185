"""Optional dependencies of the package, which ``pip install 'proponent[NAME]'`` adds."""

from __future__ import annotations

_SPEECH = frozenset({"soundfile"})
_MUSIC = frozenset({"mido"})
_TEXT = frozenset({"accelerate", "datasets", "huggingface_hub", "peft", "tokenizers", "transformers"})


def how_to_install(module: str) -> str:
    """Return the way out for a module that is not installed: a clause for a message."""
    if module.partition(".")[0] in _TEXT:
        return "install it with 'make env-text', or with pip install 'proponent[text]'"
    if module.partition(".")[0] in _SPEECH:
        return "install it with 'make env-speech', or with pip install 'proponent[speech]'"
    if module.partition(".")[0] in _MUSIC:
        return "install it with 'make env-music', or with pip install 'proponent[music]'"
    return "install it"
