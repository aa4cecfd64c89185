"""`proponent verify`: whatever is not as it was written is named, with everything that was made from it."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = pytest.mark.slow

ENSEMBLE = "results/toy/ensemble/shard-000.json"
GRADIENTS = "results/toy/features/gradients-000.safetensors"
SCORES = "results/toy/scores/graddot.safetensors"


def complaints(checkout, *paths: str) -> str:
    done = checkout.run_step("verify", *paths)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def test_an_untouched_run_is_whole_and_says_how_much_was_read(checkout):
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "whole: " in done.stdout


def test_one_flipped_byte_is_named_with_everything_made_from_it(checkout):
    path = checkout.root / GRADIENTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = complaints(checkout)
    assert f"{GRADIENTS}: corrupt" in said
    for made in (SCORES, "results/toy/scores/trak.safetensors", "results/toy/metrics/trak.json"):
        assert made in said
    assert "results/leaderboard.csv" in said
    assert "random" not in said, "random scores lean on no gradient"


def test_a_flipped_byte_in_a_members_weights_is_found_although_only_a_part(checkout):
    path = checkout.root / "results/toy/ensemble/member-001/final.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = complaints(checkout, "results/toy/scores")
    assert "member-001/final.safetensors: corrupt" in said
    assert SCORES in said


def test_a_swapped_file_is_named_even_with_its_manifest(checkout):
    other = "results/toy/scores/trak.safetensors"
    for ending in ("", ".manifest.json"):
        shutil.copy(checkout.root / f"{other}{ending}", checkout.root / f"{SCORES}{ending}")
    assert f"{SCORES}: its manifest is that of {other}" in complaints(checkout)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", 0.001),
        ("key", "0" * 64),
        ("sha256", "0" * 64),
        ("commit", "mine"),
        ("inputs", {}),
    ],
)
def test_a_manifest_edited_by_hand_is_named(checkout, field, value):
    path = checkout.root / f"{SCORES}.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    said = complaints(checkout)
    assert f"{SCORES}: its manifest was edited" in said
    assert "results/toy/metrics/graddot.json" in said


def test_a_missing_input_is_named_with_everything_made_from_it(checkout):
    (checkout.root / ENSEMBLE).unlink()
    (checkout.root / f"{ENSEMBLE}.manifest.json").unlink()
    said = complaints(checkout, "results/toy/metrics/graddot.json")
    assert f"{ENSEMBLE}: missing" in said
    assert GRADIENTS in said


def test_what_the_configuration_no_longer_asks_for_is_stale(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    said = complaints(checkout)
    assert f"{ENSEMBLE}: stale" in said
    assert "results/toy/data/train.safetensors: stale" not in said


@pytest.mark.parametrize("field", ["inputs", "parts", "details", "size"])
def test_a_manifest_edited_to_nonsense_is_named_too(checkout, field):
    path = checkout.root / f"{SCORES}.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: [None]}))
    assert f"{SCORES}: its manifest is not one" in complaints(checkout)
    assert checkout.planned() == {"graddot": 1, "evaluate": 1} | dict.fromkeys(
        ("collect", "summary", "figures", "overview"), 1
    )


def test_what_was_made_from_a_fault_is_listed_at_its_first_cause_alone(checkout):
    """A list at every stale artefact would be a wall of names: as long as the square of the number of methods."""
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    lines = [
        line
        for line in complaints(checkout).splitlines()
        if line.startswith(("results/", "  made from it: "))
    ]
    causes = [lines[i - 1] for i, line in enumerate(lines) if line.startswith("  made from it: ")]
    shards = sorted(checkout.bytes_of("toy/ground_truth/shards/*.safetensors"))
    assert [line.split(":")[0] for line in causes] == [ENSEMBLE, *shards]
    assert lines[: 2 * len(causes) : 2] == causes, "first causes come first"
    assert f"{SCORES}: stale" in "\n".join(lines[2 * len(causes) :])


def test_what_no_configuration_makes_is_a_note(checkout):
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    checkout.snakemake()
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "note: results/toy/scores/trak.safetensors: no current configuration makes it" in done.stdout


def test_many_that_no_configuration_makes_are_counted(checkout):
    checkout.edit("params.yaml", "settings: [toy]", "settings: [digits-lr]")
    done = checkout.run_step("verify", "results/toy")
    assert done.returncode == 0, done.stdout
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == 6
    assert notes[-1].startswith("note: and ") and notes[-1].endswith("proponent prune removes them")


def test_what_the_configuration_asks_for_and_is_not_here_is_a_note(checkout):
    """As after a pull or an archive of one setting: what is here is whole, and is not the whole benchmark."""
    for name in ("overview.svg", "overview.svg.manifest.json"):
        (checkout.root / "results/figures" / name).unlink()
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "note: results/figures/overview.svg: is asked for by params.yaml and not here" in done.stdout
    assert "overview" not in checkout.run_step("verify", "results/toy").stdout


@pytest.mark.parametrize("content", ["", "[]", '{"artefact": 3}', "null"])
def test_what_is_no_manifest_is_named(checkout, content):
    (checkout.root / f"{SCORES}.manifest.json").write_text(content)
    said = complaints(checkout)
    assert f"{SCORES}: its manifest is not one" in said
    assert "results/toy/metrics/graddot.json" in said


def test_a_path_that_holds_nothing_is_one_line(checkout):
    assert "results/nowhere: no artefact is there" in complaints(checkout, "results/nowhere")
