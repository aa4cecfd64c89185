"""`proponent provenance`: how a result was made, and why Snakemake would make it again."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCORES = "results/toy/scores/trak.safetensors"


def report(checkout, path: str) -> str:
    done = checkout.run_step("provenance", path)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_current_result_is_described(checkout):
    text = report(checkout, SCORES)
    assert "made by   `proponent attribute`" in text
    assert "0 (train)" in text, "seeds of everything upstream"
    assert "torch 2." in text
    for part in ("  results/toy/features/gradients-000.safetensors", "  members: 1", "  setting: toy"):
        assert part in text
    assert text.rstrip().endswith("current: snakemake would not make it again")


@pytest.mark.parametrize(
    ("path", "artefact"),
    [
        ("results/toy/ensemble/member-001/final.safetensors", "results/toy/ensemble/shard-000.json"),
        (f"{SCORES}.manifest.json", SCORES),
        ("results/toy/keys/scores/trak.safetensors.json", SCORES),
    ],
)
def test_parts_manifests_and_key_files_belong_to_their_artefact(checkout, path, artefact):
    assert report(checkout, path).splitlines()[0] == artefact


def test_causes_are_reported_where_they_arise_with_old_and_new_values(checkout):
    checkout.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    with (checkout.root / "src/proponent/methods/trak/trak.py").open("a") as source:
        source.write("\nglobals()['CHANGED'] = 3\n")
    text = report(checkout, SCORES)
    assert "results/toy/ensemble/shard-000.json: recipe.lr was 0.2, is 0.1" in text
    assert f"{SCORES}: code proponent.methods.trak.trak changed" in text
    assert text.count("recipe.lr was") == 2, (
        "once for the members and once for the retrainings that tuned it, not for artefacts that follow from them"
    )
    data = report(checkout, "results/toy/data/train.safetensors")
    assert "current" in data.splitlines()[-1]


def test_damaged_missing_and_no_longer_configured_results(checkout):
    path = checkout.root / SCORES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{SCORES}: corrupt" in report(checkout, "results/toy/metrics/trak.json")
    path.with_name(path.name + ".manifest.json").unlink()
    assert "not made yet; `proponent attribute` makes it" in report(checkout, SCORES)
    checkout.edit("params.yaml", "[random, graddot, trak]", "[random, graddot]")
    last = report(checkout, "results/toy/metrics/trak.json").splitlines()[-1]
    assert (
        last == "not in the current configuration: snakemake does not make it, and proponent prune removes it"
    )


def test_an_unknown_path_gives_one_line_with_the_nearest_name(checkout):
    done = checkout.run_step("provenance", "results/toy/scores/trakk.safetensors")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert SCORES in done.stdout


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (
            "results/toy/scores",
            "results/toy/scores: no result has this name; it is a folder, so name a file in it, for example ",
        ),
        ("nowhere", "nowhere: no result has this name; results are below results/"),
    ],
)
def test_a_folder_and_a_path_without_a_near_name(checkout, path, hint):
    done = checkout.run_step("provenance", path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"error: {hint}")
    assert len(done.stdout) < 200


def test_the_command_explain_is_free_for_predictions(checkout):
    assert "No such command 'explain'" in checkout.run_step("explain", SCORES).stdout
