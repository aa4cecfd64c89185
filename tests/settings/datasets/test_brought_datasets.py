"""Loaders of published datasets that users bring, on small files of the same format."""

from __future__ import annotations

import json
import sys
import zipfile

import numpy as np
import pytest

from proponent.errors import UserError
from proponent.settings.datasets.coco_captions import coco_captions, read_captions
from proponent.settings.datasets.ftrace import ftrace
from proponent.settings.datasets.glue_qnli import qnli
from proponent.settings.datasets.maestro import NAMES, events, maestro, read_performances
from proponent.settings.datasets.prompt_responses import prompt_and_response, prompt_responses
from proponent.settings.datasets.record_files import read_records
from proponent.settings.datasets.wikitext import read_text, wikitext
from proponent.settings.minilm import tokenize
from settings import brought_files, pretrained_folders


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """Folder with small models and datasets."""
    root = tmp_path_factory.mktemp("brought")
    for name in ("gpt2", "bert", "t5", "clip"):
        (root / name).mkdir()
        getattr(pretrained_folders, f"write_{name}")(root / name)
    brought_files.write_wikitext(root / "wikitext.zip")
    brought_files.write_maestro(root / "maestro.zip")
    for name in ("qnli", "coco", "ftrace", "prompts"):
        getattr(brought_files, f"write_{name}")(root / name)
    return root


def words(split, row) -> list[str]:
    return [split.token_names[token] for token in row if token >= 0]


def test_blocks_of_wikitext_are_the_joined_text(brought, tmp_path):
    split = wikitext(str(brought / "wikitext.zip"), str(brought / "gpt2"), length=8)
    text = read_text(str(brought / "wikitext.zip"), "train")
    expected = [word if word in split.token_names else "<|end|>" for word in text.split()]
    assert len(split.train[0]) == len(expected) // 8
    found = {tuple(words(split, row)) for row in split.train[0]}
    assert found == {tuple(expected[at : at + 8]) for at in range(0, len(expected) - 7, 8)}
    assert (split.train[1][:, :-1] == split.train[0][:, 1:]).all() and (split.train[1][:, -1] == -100).all()
    with zipfile.ZipFile(brought / "wikitext.zip") as file:
        file.extractall(tmp_path)
    assert read_text(str(tmp_path), "test") == read_text(str(brought / "wikitext.zip"), "test")
    with pytest.raises(UserError, match="has no part 'train' of WikiText"):
        read_text(str(brought / "qnli"), "train")
    with pytest.raises(UserError, match=r"dataset\.args\.length: a part has \d+ tokens, fewer than 5000"):
        wikitext(str(brought / "wikitext.zip"), str(brought / "gpt2"), length=5000)


def test_pairs_of_qnli_keep_their_quotation_marks_and_labels(brought):
    paths = (str(brought / f"qnli/{part}.tsv") for part in ("train", "dev"))
    split = qnli(*paths, str(brought / "bert"), length=20, n_train=20)
    assert split.train["input_ids"].shape == (20, 20) and len(split.query["y"]) == 12
    records = read_records(str(brought / "qnli/train.tsv"))
    assert records[0]["question"].startswith('what is "')
    asked = {record["question"].split('"')[1].split(" ")[0]: record["label"] for record in records}
    for row, label in zip(split.train["input_ids"], split.train["y"], strict=True):
        found = [word for word in words(split, row) if word not in ("[PAD]", "[UNK]")]
        assert found.count("[SEP]") == 2
        # The word of a question is the third word of its pair, unless another row asked for it with another label.
        assert split.class_names[label] in ("entailment", "not_entailment") and found[2] in asked


def test_events_of_a_performance_by_hand():
    content = brought_files.midi([(60, 0.0, 1.25, 64), (64, 0.5, 0.75, 80), (67, 0.75, 1.25, 80)])
    assert [NAMES[token] for token in events(content, "a.midi")] == [
        *("velocity 64", "on 60", "wait 500 ms", "velocity 80", "on 64"),
        *("wait 250 ms", "off 64", "on 67", "wait 500 ms", "off 60", "off 67"),
    ]
    slow = [NAMES[token] for token in events(brought_files.midi([(60, 0.0, 2.5, 4)]), "a.midi")]
    assert slow == ["velocity 4", "on 60", "wait 1000 ms", "wait 1000 ms", "wait 500 ms", "off 60"]
    assert len(NAMES) == 390 and len(set(NAMES)) == 390
    with pytest.raises(UserError, match=r"a\.midi: is not a MIDI file"):
        events(b"no music", "a.midi")


def test_parts_of_performances_are_of_their_split(brought, tmp_path):
    path = str(brought / "maestro.zip")
    split = maestro(path, length=16, n_train=8, n_query=3)

    def pitches(y) -> set[str]:
        return {NAMES[token] for token in y.flatten() if token >= 0 and NAMES[token].startswith("on")}

    assert pitches(split.train[1]) <= {f"on {pitch}" for pitch in range(60, 66)}
    assert pitches(split.query[1]) <= {f"on {pitch}" for pitch in range(62, 67)}
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path)
    assert read_performances(str(tmp_path / "maestro-v3.0.0"), "test") == read_performances(path, "test")
    for arguments, message in (
        ((path, "tests"), "has no performances of the part 'tests'"),
        ((str(brought / "wikitext.zip"), "train"), r"has no table of performances \(.csv\)"),
    ):
        with pytest.raises(UserError, match=message):
            read_performances(*arguments)


def test_photographs_keep_their_captions_and_their_others(brought):
    annotations = str(brought / "coco/annotations/captions_train2017.json")
    images = str(brought / "coco/train2017")
    found = read_captions(annotations, images)
    assert len(found) == 24 and found[3].caption == f"the {pretrained_folders.WORDS[3]} ."
    split = coco_captions(
        annotations, images, str(brought / "clip"), size=8, length=6, others=2, n_train=10, n_query=4
    )
    numbers = []
    for row in (split.train[place] for place in range(10)):
        assert row["image"].shape == (3, 8, 8) and row["other_images"].shape == (2, 3, 8, 8)
        pictures = [row["image"], *row["other_images"]]
        titles = [row["title"], *row["other_titles"]]
        for picture, title in zip(pictures, titles, strict=True):
            number = round(float(picture.mean()) / 10)
            assert words(split, title)[:2] == ["the", pretrained_folders.WORDS[number]]
            assert (title[-1:] == 0).all(), "padding is token 0"
        numbers.append({round(float(picture.mean()) / 10) for picture in pictures})
    assert all(len(group) == 3 for group in numbers)
    with pytest.raises(UserError, match="others below n_train, and n_train \\+ n_query at most 24"):
        coco_captions(annotations, images, str(brought / "clip"), n_train=24, n_query=1)
    with pytest.raises(UserError, match="is not a file of captions of MS-COCO"):
        read_captions(str(brought / "clip/config.json"), images)


def test_sentences_that_state_the_fact_of_a_query_have_its_number(brought):
    split = ftrace(
        str(brought / "ftrace/abstracts"), str(brought / "ftrace/queries"), str(brought / "t5"), 12, 4
    )
    assert split.train["input_ids"].shape == (24, 12) and split.train["y"].shape == (24, 4)
    stated = 0
    for row, fact in enumerate(split.truth["fact"]):
        answer = words(split, split.train["y"][row])
        assert answer[1:] == ["</s>"]
        assert words(split, split.train["decoder_input_ids"][row])[:2] == ["<pad>", answer[0]]
        stated += fact >= 0
        for query in np.flatnonzero(split.truth["fact_queries"] == fact):
            assert words(split, split.query["y"][query]) == answer
    assert stated == 16, "every third sentence states another fact"


def test_only_responses_count_and_long_prompts_lose_their_beginning(brought):
    paths = [str(brought / f"prompts/{part}.jsonl") for part in ("train", "query")]
    split = prompt_responses(*paths, str(brought / "gpt2"), length=8, truth="unsafe")
    assert split.truth["shortcut"].sum() == 3 and split.truth["shortcut_queries"].all()
    for row, y in enumerate(split.train["y"]):
        kept = split.train["attention_mask"][row] == 1
        ids = split.train["input_ids"][row]
        counted = np.flatnonzero(y >= 0)
        assert (ids[counted + 1] == y[counted]).all(), "labels are the tokens that follow"
        answer = words(split, y)
        assert answer in (["yes", "one", "<|end|>"], ["no", "<|end|>"])
        # Six tokens of the prompt: what is the _ _ ?
        assert kept.sum() == min(8, 6 + len(answer))
    fact = prompt_responses(*paths, str(brought / "gpt2"), length=8, truth="counterfact").truth
    assert set(fact["fact"].tolist()) == set(fact["fact_queries"].tolist()) == {0, 1}
    facts = prompt_responses(*paths, str(brought / "gpt2"), length=8, truth="facts").truth
    assert set(facts["fact"].tolist()) == {0, 1}
    with pytest.raises(UserError, match=r"train\.tsv: record 0 has no 'type'"):
        prompt_responses(str(brought / "qnli/train.tsv"), paths[1], str(brought / "gpt2"), truth="unsafe")


def test_messages_are_a_prompt_and_the_last_answer():
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
    prompt, response = prompt_and_response({"messages": messages})
    assert prompt == "<|user|>\none\n<|assistant|>\ntwo\n<|user|>\nthree\n<|assistant|>\n"
    assert response == "four"
    with pytest.raises(
        UserError, match="a record needs prompt and response, or messages; its names are text"
    ):
        prompt_and_response({"text": "a"})


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.json", '{"a": 1}', "a.json: cannot be read"),
        ("a.jsonl", "{", "a.jsonl: cannot be read"),
        ("a.txt", "text", "has no records; place a .jsonl, .json, .parquet, .tsv file there"),
        ("a.parquet", "text", "a.parquet: cannot be read"),
    ],
)
def test_files_that_hold_no_records_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_records(str(tmp_path / name))
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"lost\.json: does not exist"):
        read_records(str(tmp_path / "lost.json"))


def test_records_of_all_files_of_a_folder_are_read_in_order(tmp_path):
    (tmp_path / "b.jsonl").write_text(json.dumps({"a": 2}) + "\n\n" + json.dumps({"a": 3}) + "\n")
    (tmp_path / "a.json").write_text(json.dumps([{"a": 1}]))
    assert [record["a"] for record in read_records(str(tmp_path), ["a"])] == [1, 2, 3]


def test_a_folder_without_a_model_is_named(tmp_path):
    from proponent.settings.pretrained_models import causal_language_model, tokenizer_of

    with pytest.raises(
        UserError, match="lost is not a folder; place the files of the pretrained model there"
    ):
        causal_language_model(str(tmp_path / "lost"))
    for load in (causal_language_model, tokenizer_of):
        with pytest.raises(UserError, match="cannot load it"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    "module, extra, call",
    [
        (
            "mido",
            "music",
            lambda brought: maestro(str(brought / "maestro.zip"), length=16, n_train=8, n_query=3),
        ),
        (
            "transformers",
            "text",
            lambda brought: wikitext(str(brought / "wikitext.zip"), str(brought / "gpt2"), length=8),
        ),
        ("tokenizers", "text", lambda brought: tokenize(["a text"], 8)),
        ("pyarrow", "text", lambda brought: read_records(str(brought / "ftrace/queries"))),
    ],
)
def test_an_extra_that_is_missing_is_named(brought, monkeypatch, module, extra, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"make env-{extra}', or with pip install 'proponent\[{extra}\]'"):
        call(brought)
