"""`proponent explain`: where a result comes from, and why it would be made again."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCORES = "results/toy/scores/trak.safetensors"


def said(checkout, path: str) -> str:
    done = checkout.run_step("explain", path)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_current_result_is_described_and_left_as_it_is(checkout):
    text = said(checkout, SCORES)
    assert "made by   `proponent attribute`" in text
    assert "0 (train)" in text, "seeds of everything upstream"
    assert "torch 2." in text
    for part in ("  results/toy/features/gradients-000.safetensors", "  members: 1", "  setting: toy"):
        assert part in text
    assert text.rstrip().endswith("current: snakemake would leave it as it is")


@pytest.mark.parametrize(
    ("path", "artefact"),
    [
        ("results/toy/ensemble/member-001/final.safetensors", "results/toy/ensemble/shard-000.json"),
        (f"{SCORES}.manifest.json", SCORES),
        ("results/toy/keys/scores/trak.safetensors.json", SCORES),
    ],
)
def test_parts_manifests_and_key_files_lead_to_their_artefact(checkout, path, artefact):
    assert said(checkout, path).splitlines()[0] == artefact


def test_causes_are_named_where_they_arise_with_old_and_new_values(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    with (checkout.root / "src/proponent/methods/trak/trak.py").open("a") as source:
        source.write("\nNEW_CONSTANT = 3\n")
    text = said(checkout, SCORES)
    assert "results/toy/ensemble/shard-000.json: recipe.lr was 0.2, is 0.1" in text
    assert f"{SCORES}: code proponent.methods.trak.trak changed" in text
    assert text.count("recipe.lr was") == 2, (
        "of the members and of the retrainings that tuned it, not of what follows or evaluates"
    )
    data = said(checkout, "results/toy/data/train.safetensors")
    assert "current" in data.splitlines()[-1]


def test_damage_absence_and_what_nothing_makes(checkout):
    path = checkout.root / SCORES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{SCORES}: corrupt" in said(checkout, "results/toy/metrics/trak.json")
    path.with_name(path.name + ".manifest.json").unlink()
    assert "not made yet; `proponent attribute` makes it" in said(checkout, SCORES)
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    last = said(checkout, "results/toy/metrics/trak.json").splitlines()[-1]
    assert last == "no current configuration makes it: snakemake would not, and proponent prune removes it"


def test_an_unknown_path_is_one_line_with_the_nearest_name(checkout):
    done = checkout.run_step("explain", "results/toy/scores/trakk.safetensors")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert SCORES in done.stdout


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (
            "results/toy/scores",
            "results/toy/scores: no result is called that, it is a folder; name a file in it, such as ",
        ),
        ("nowhere", "nowhere: no result is called that; they lie below results/"),
    ],
)
def test_a_folder_and_what_is_like_nothing(checkout, path, hint):
    done = checkout.run_step("explain", path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"error: {hint}")
    assert len(done.stdout) < 200
