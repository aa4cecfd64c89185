"""`proponent verify`: every damaged or stale artefact is reported, with everything downstream of it."""

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


def test_a_complete_run_is_reported_with_its_size(checkout):
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "whole: " in done.stdout


def test_a_flipped_byte_is_reported_with_everything_downstream(checkout):
    path = checkout.root / GRADIENTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    report = complaints(checkout)
    assert f"{GRADIENTS}: corrupt" in report
    for made in (SCORES, "results/toy/scores/trak.safetensors", "results/toy/metrics/trak.json"):
        assert made in report
    assert "results/leaderboard.csv" in report
    assert "random" not in report, "random scores are not made from gradients"


def test_a_flipped_byte_in_a_part_of_an_artefact_is_found(checkout):
    path = checkout.root / "results/toy/ensemble/member-001/final.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    report = complaints(checkout, "results/toy/scores")
    assert "member-001/final.safetensors: corrupt" in report
    assert SCORES in report


def test_a_file_swapped_together_with_its_manifest_is_reported(checkout):
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
def test_a_manifest_edited_by_hand_is_reported(checkout, field, value):
    path = checkout.root / f"{SCORES}.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    report = complaints(checkout)
    assert f"{SCORES}: its manifest was edited" in report
    assert "results/toy/metrics/graddot.json" in report


def test_a_missing_input_is_reported_with_everything_downstream(checkout):
    (checkout.root / ENSEMBLE).unlink()
    (checkout.root / f"{ENSEMBLE}.manifest.json").unlink()
    report = complaints(checkout, "results/toy/metrics/graddot.json")
    assert f"{ENSEMBLE}: missing" in report
    assert GRADIENTS in report


def test_results_of_an_earlier_configuration_are_stale(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    report = complaints(checkout)
    assert f"{ENSEMBLE}: stale" in report
    assert "results/toy/data/train.safetensors: stale" not in report


@pytest.mark.parametrize("field", ["inputs", "parts", "details", "size"])
def test_a_manifest_with_a_field_of_a_wrong_type_is_malformed(checkout, field):
    path = checkout.root / f"{SCORES}.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: [None]}))
    assert f"{SCORES}: its manifest is malformed" in complaints(checkout)
    assert checkout.planned() == {"graddot": 1, "evaluate": 1} | dict.fromkeys(
        ("collect", "summary", "figures", "overview"), 1
    )


def test_downstream_artefacts_are_listed_at_their_first_cause_only(checkout):
    """A list at every stale artefact would have as many names as the square of the number of methods."""
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    lines = [
        line for line in complaints(checkout).splitlines() if line.startswith(("results/", "  downstream: "))
    ]
    causes = [lines[i - 1] for i, line in enumerate(lines) if line.startswith("  downstream: ")]
    shards = sorted(checkout.bytes_of("toy/ground_truth/shards/*.safetensors"))
    assert [line.split(":")[0] for line in causes] == ["results/toy/check.json", ENSEMBLE, *shards]
    assert lines[: 2 * len(causes) : 2] == causes, "first causes come first"
    assert f"{SCORES}: stale" in "\n".join(lines[2 * len(causes) :])


def test_an_artefact_outside_of_the_configuration_is_a_note(checkout):
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    checkout.make_all()
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "note: results/toy/scores/trak.safetensors: not in the current configuration" in done.stdout


def test_many_artefacts_outside_of_the_configuration_are_counted(checkout):
    checkout.edit("params.yaml", "settings: [toy]", "settings: [digits-lr]")
    done = checkout.run_step("verify", "results/toy")
    assert done.returncode == 0, done.stdout
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == 6
    assert notes[-1].startswith("note: and ") and notes[-1].endswith("proponent prune removes them")


def test_a_configured_artefact_that_is_not_made_yet_is_a_note(checkout):
    """After a pull or an archive of one setting, its results are complete and the rest of the benchmark is missing."""
    for name in ("overview.svg", "overview.svg.manifest.json"):
        (checkout.root / "results/figures" / name).unlink()
    done = checkout.run_step("verify")
    assert done.returncode == 0, done.stdout
    assert "note: results/figures/overview.svg: in the current configuration, but not made yet" in done.stdout
    assert "overview" not in checkout.run_step("verify", "results/toy").stdout


@pytest.mark.parametrize("content", ["", "[]", '{"artefact": 3}', "null"])
def test_a_malformed_manifest_is_reported(checkout, content):
    (checkout.root / f"{SCORES}.manifest.json").write_text(content)
    report = complaints(checkout)
    assert f"{SCORES}: its manifest is malformed" in report
    assert "results/toy/metrics/graddot.json" in report


def test_a_path_without_artefacts_gives_one_line(checkout):
    assert "results/nowhere: contains no artefact" in complaints(checkout, "results/nowhere")
