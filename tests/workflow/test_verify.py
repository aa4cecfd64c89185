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
    ("field", "value"), [("seconds", 0.001), ("key", "0" * 64), ("sha256", "0" * 64), ("commit", "mine")]
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


def test_what_no_configuration_makes_is_a_note(checkout):
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    checkout.snakemake()
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "note: results/toy/scores/trak.safetensors: no current configuration makes it" in done.stdout


def test_a_path_that_holds_nothing_is_one_line(checkout):
    assert "results/nowhere: no artefact is there" in complaints(checkout, "results/nowhere")
