"""The example of ``docs/text-and-music.md`` is run on a chorale of two notes."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save_file

from docs.guides import REPOSITORY, blocks_of

GUIDE = "docs/text-and-music.md"


def test_an_example_is_shown_as_text_picture_and_sound(tmp_path, monkeypatch):
    (block,) = [block.text for block in blocks_of(REPOSITORY / GUIDE) if block.language == "python"]
    names = ["[PAD]", "[START]", "step 4", "length 8", "pitch 60", "pitch 67"]
    data = tmp_path / "results/chorales-transformer/data"
    data.mkdir(parents=True)
    (data / "token_names.json").write_text(json.dumps(names))
    save_file({"x": np.array([[1, 5, 3, 2, 4, 3, 0]])}, data / "train.safetensors")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(block, GUIDE, "exec"), found)  # noqa: S102 -- the page of this repository
    assert [tuple(note) for note in found["notes"]] == [(0, 67, 8), (4, 60, 8)]
    assert found["words"] == "pitch 67 length 8 step 4 pitch 60 length 8"
    assert found["page"].startswith('<mark class="positive"') and found["page"].count("<mark") == 1
    assert (tmp_path / "chorale.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "chorale.wav").read_bytes().startswith(b"RIFF")


def test_the_page_names_the_settings_of_the_selections():
    page = (REPOSITORY / GUIDE).read_text(encoding="utf-8")
    from proponent.config.yaml_reader import read_yaml

    selections = read_yaml(REPOSITORY / "params.yaml")["selections"]
    for name in ("text", "music", "pairs", "brought"):
        for setting in selections[name]:
            assert f"`{setting}`" in page or setting == "imagenet-resnet50", setting
