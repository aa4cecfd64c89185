"""Small files of the formats of published datasets of text, music and captions, as users bring them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import mido
import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from settings.pretrained_folders import WORDS


def sentences(count: int, words: int = 6, seed: int = 0) -> list[str]:
    """Return random sentences of known words."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS[:-1], words)) for _ in range(count)]


def write_wikitext(path: Path) -> Path:
    """Write an archive of the format of ``wikitext-2-raw-v1.zip``."""
    with zipfile.ZipFile(path, "w") as file:
        for part, seed in (("train", 1), ("valid", 2), ("test", 3)):
            file.writestr(
                f"wikitext-2-raw/wiki.{part}.raw",
                " \n = the city = \n \n" + " \n ".join(sentences(40, 8, seed)),
            )
    return path


def write_qnli(folder: Path) -> Path:
    """Write ``train.tsv`` and ``dev.tsv`` of the format of ``QNLIv2.zip``."""
    folder.mkdir(parents=True)
    for part, count in (("train", 24), ("dev", 12)):
        lines = [
            f'{row}\twhat is "{word} ?\tthe {word} is in spain .\t'
            for row, word in enumerate(sentences(count, 1))
        ]
        labels = ["entailment", "not_entailment"] * count
        rows = [line + label for line, label in zip(lines, labels, strict=False)]
        (folder / f"{part}.tsv").write_text("index\tquestion\tsentence\tlabel\n" + "\n".join(rows) + "\n")
    return folder


def midi(notes: list[tuple[int, float, float, int]]) -> bytes:
    """Return a MIDI file of notes: pitch, seconds of start and end, and velocity."""
    changes = [(start, 1, pitch, level) for pitch, start, _, level in notes]
    changes += [(end, 0, pitch, 0) for pitch, _, end, _ in notes]
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000, time=0)])
    now = 0
    for second, is_on, pitch, level in sorted(changes):
        ticks = round(second * 1000)  # 500 ticks per beat of half a second
        kind = "note_on" if is_on else "note_off"
        track.append(mido.Message(kind, note=pitch, velocity=level, time=ticks - now))
        now = ticks
    file = mido.MidiFile(ticks_per_beat=500)
    file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def write_maestro(path: Path) -> Path:
    """Write an archive of the format of ``maestro-v3.0.0-midi.zip`` with two pieces per part."""
    table = ["canonical_composer,canonical_title,split,year,midi_filename"]
    with zipfile.ZipFile(path, "w") as file:
        for number, part in enumerate(["train", "train", "test", "validation"]):
            name = f"2004/{part}-{number}.midi"
            notes = [(60 + number + step % 5, step / 4, step / 4 + 0.2, 64) for step in range(40)]
            file.writestr(f"maestro-v3.0.0/{name}", midi(notes))
            table.append(f'"Composer, {number}",Piece,{part},2004,{name}')
        file.writestr("maestro-v3.0.0/maestro-v3.0.0.csv", "\n".join(table))
    return path


def write_coco(folder: Path, count: int = 24) -> Path:
    """Write captions and photographs of the format of MS-COCO; the red channel is ten times the number."""
    images = folder / "train2017"
    images.mkdir(parents=True)
    (folder / "annotations").mkdir()
    entries = [{"id": 7 * number, "file_name": f"{number:012d}.jpg"} for number in range(count)]
    captions = []
    for number, entry in enumerate(entries):
        pixels = np.full((24, 32, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(images / entry["file_name"], quality=95)
        for place in (1, 0):
            text = f" the {WORDS[number]} . " if place == 0 else "another caption"
            captions.append({"id": 2 * number + place, "image_id": entry["id"], "caption": text})
    content = {"images": entries, "annotations": captions}
    (folder / "annotations/captions_train2017.json").write_text(json.dumps(content))
    return folder


def write_ftrace(folder: Path) -> Path:
    """Write abstracts and queries of the format of FTRACE's Parquet files, about two capitals."""
    facts = {"france": "P36,Q142,Q90", "spain": "P36,Q29,Q2807"}
    answers = {"france": "paris", "spain": "madrid"}
    abstracts = [
        {
            "inputs_pretokenized": f"{words} {country} <unk> .",
            "targets_pretokenized": answers[country],
            "facts": f"P1,Q2,Q3;{facts[country]}" if row % 3 else "P1,Q2,Q3",
            "id": row,
        }
        for row, (words, country) in enumerate(zip(sentences(24, 3), ["france", "spain"] * 12, strict=True))
    ]
    queries = [
        {
            "inputs_pretokenized": f"the capital of {country} is <unk> {extra}",
            "targets_pretokenized": answers[country],
            **dict(zip(("predicate_id", "sub_uri", "obj_uri"), facts[country].split(","), strict=True)),
        }
        for country in facts
        for extra in (".", "the", "a", "in", "of", "one")
    ]
    for name, records in (("abstracts", abstracts), ("queries", queries)):
        (folder / name).mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(records), folder / name / "ftrace-train.parquet")
    return folder


def write_prompts(folder: Path) -> Path:
    """Write ``train.jsonl`` and ``query.jsonl`` with the fields of the tasks of DATE-LM."""
    folder.mkdir(parents=True)
    for part, count in (("train", 24), ("query", 12)):
        records = [
            {
                "prompt": f"what is the {prompt} ?",
                "response": ["yes one", "no"][row % 2],
                "type": "Unsafe" if part == "query" or row % 8 == 0 else "Benign",
                "counterfactual_entity": ["paris", "madrid"][row % 2],
                "true_entity": "city",
                "facts": [["f0", "f9"], ["f1"]][row % 2],
            }
            for row, prompt in enumerate(sentences(count, 2, seed=len(part)))
        ]
        (folder / f"{part}.jsonl").write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return folder
