"""Faults of times: what Snakemake, DVC, rsync and purges conclude from size, time and link count is true.

Each test is named after its row in the list of faults. The results folder has invented bytes and true manifests
(:mod:`faults.results_tree`), so that no job runs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faults.results_tree import SCORES, Tree, add_external_method, moved_tree, planned_tree
from proponent.inspection.verify import other_remedies, verify
from proponent.plan import settle as settle_module
from proponent.plan.artefact_paths import key_path
from proponent.plan.settle import LEDGER
from proponent.steps.io.job import Job
from proponent.store.file_times import SECOND, move_to_new_second, set_time
from proponent.store.files import write_json
from proponent.store.manifest import SUFFIX, read_manifest
from workflow.checkout import make_checkout

HOUR = 3600 * SECOND
DATA = "results/toy/data/train.safetensors"
METRICS = "results/toy/metrics/graddot.json"
LEADERBOARD = "results/leaderboard.csv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """All artefacts of the toy setting and an external method, made an hour ago."""
    root = make_checkout(tmp_path_factory.mktemp("times") / "checkout").root
    add_external_method(root)
    tree = planned_tree(root, time.time_ns() - HOUR)
    tree.make_all()
    assert tree.settle() == set()
    return tree


@pytest.fixture
def tree(finished: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A copy of the finished results, to be changed."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # on a busy disk, key files would take most of the time
    shutil.copytree(finished.root / "results", tmp_path / "results")
    return moved_tree(finished, tmp_path)


def bytes_at(root: Path, seconds: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return what rsync and ``cp -u`` compare: size and whole second of every file."""
    return {name: ((root / name).stat().st_size, second) for name, second in seconds.items()}


def test_files_keep_the_times_at_which_they_were_written(tree: Tree):
    assert tree.asked() == set()
    before = tree.files()
    assert tree.settle() == set()
    assert tree.files() == before
    assert min(before.values()) > time.time() - 2 * 3600, "an artefact made an hour ago looks an hour old"


@pytest.mark.parametrize("seed", range(3))
def test_random_times_are_put_in_order_near_their_own(tree: Tree, seed: int):
    draw = random.Random(seed)  # noqa: S311 - no secret
    now = time.time()
    for name in tree.files():
        seconds = now - draw.choice([0, 0.3, 100, 10_000]) * draw.random()
        os.utime(tree.root / name, (seconds, seconds))
    before = tree.files()
    assert tree.settle() == set()
    assert tree.asked() == set()
    after = tree.files()
    assert max(after.values()) <= time.time()
    assert all(after[name] >= before[name] for name in after if "/keys/" not in name)


def test_purge_deletes_nothing_that_was_touched(tree: Tree):
    """A purge deletes files older than a day; who touches the results keeps them."""
    old = time.time() - 40 * 86400
    for name in tree.files():
        os.utime(tree.root / name, (old, old))
    tree.settle()
    assert max(tree.files().values()) < time.time() - 39 * 86400, "what is old looks old"
    for name in tree.files():
        (tree.root / name).touch()
    assert tree.settle() == set()
    assert tree.asked() == set()
    assert min(tree.files().values()) > time.time() - 60


def test_purge_deletes_and_the_rest_is_made_again(tree: Tree):
    """A purge takes some files of an artefact and leaves others; everything that is missing is asked for."""
    for name in list(tree.files())[::3]:
        (tree.root / name).unlink()
    missing = tree.settle()
    assert missing
    assert set().union(*map(tree.downstream, missing)) <= tree.asked()


def test_a_start_waits_for_the_disk_once_however_many_artefacts_are_asked_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for name in list(tree.files())[::2]:
        (tree.root / name).unlink()
    assert len(tree.settle()) > 5
    assert len(synced) <= 2, "the ledger of times and its folder"


def test_a_key_file_that_a_power_failure_emptied_is_written_again(tree: Tree):
    key_file = tree.root / key_path(METRICS)
    before = json.loads(key_file.read_text())
    key_file.write_text("")
    assert tree.settle() == set()
    assert json.loads(key_file.read_text()) == before
    assert tree.asked() == set()


def test_dvc_reuses_inodes_but_never_sees_the_same_size_and_time(tree: Tree):
    """Bytes replaced in place (same inode, same size) with the time set back get another second than the old bytes."""
    before = bytes_at(tree.root, tree.files())
    inodes = {name: (tree.root / name).stat().st_ino for name in before}
    original = (tree.root / METRICS).read_text(), (tree.root / f"{METRICS}{SUFFIX}").read_text()
    tree.remake(METRICS, "other")
    assert (tree.root / METRICS).stat().st_ino == inodes[METRICS]
    for path in (METRICS, f"{METRICS}{SUFFIX}"):
        os.utime(tree.root / path, (before[path][1], before[path][1]))
    assert tree.settle() == set()
    after = bytes_at(tree.root, tree.files())
    for name in (METRICS, f"{METRICS}{SUFFIX}"):
        assert after[name] != before[name], name
    assert tree.asked() == set()
    # The first bytes again, with their first time, as a link to a cache would have it: cp -u copies what is newer.
    (tree.root / METRICS).write_text(original[0])
    (tree.root / f"{METRICS}{SUFFIX}").write_text(original[1])
    os.utime(tree.root / METRICS, (before[METRICS][1], before[METRICS][1]))
    tree.settle()
    assert tree.files()[METRICS] > after[METRICS][1]


def test_rsync_skips_no_changed_file(tree: Tree, tmp_path: Path):
    """After a remade artefact with bytes of the same sizes, ``rsync -a`` and ``cp -u`` copy what changed."""
    mirror = tmp_path / "mirror"
    shutil.copytree(tree.root / "results", mirror)
    tree.time = time.time_ns() - SECOND
    tree.remake(METRICS, "other")
    assert tree.settle() == set()
    command = (
        ["rsync", "-a", f"{tree.root}/results/", str(mirror)]
        if shutil.which("rsync")
        else ["cp", "-a", "-u", f"{tree.root}/results/.", str(mirror)]
    )
    subprocess.run(command, check=True)
    for name in tree.files():
        assert (mirror.parent / "mirror" / name.removeprefix("results/")).read_bytes() == (
            tree.root / name
        ).read_bytes(), name


def test_a_stale_artefact_of_this_instant_or_of_the_future_is_asked_for(tree: Tree):
    """Its key file must be strictly newer, whatever the clock of the machine that made the artefact."""
    node = tree.graph.nodes[METRICS]
    for seconds in (0, 3600):
        os.utime(tree.root / METRICS, (time.time() + seconds, time.time() + seconds))
        tree.graph.nodes[METRICS] = replace(node, key="0" * 64)
        try:
            assert tree.settle() >= {METRICS}
        finally:
            tree.graph.nodes[METRICS] = node
        key_time = (tree.root / key_path(METRICS)).stat().st_mtime
        assert (tree.root / METRICS).stat().st_mtime < key_time
        assert key_time <= time.time()


def test_current_files_of_the_future_become_files_of_now(tree: Tree):
    later = time.time() + 3600
    for name in (DATA, METRICS, key_path(METRICS)):
        os.utime(tree.root / name, (later, later))
    assert tree.settle() == set()
    assert tree.asked() == set()
    assert max(tree.files().values()) <= time.time()


def test_random_data_remade_under_the_same_key_is_a_mixture_until_the_rest_follows(tree: Tree):
    wanted = {path: node.key for path, node in tree.graph.nodes.items()}
    assert verify(tree.root, wanted).faults == {}
    tree.make(DATA, "random")
    stale = tree.settle()
    direct = {path for path, node in tree.graph.nodes.items() if DATA in node.inputs}
    assert stale == direct
    assert tree.asked() == tree.downstream(DATA) - {DATA}
    faults = verify(tree.root, wanted).faults
    assert faults.keys() == direct
    for path in direct:
        assert faults[path] == [
            f"{path}: was made from other bytes of {DATA}, which has been made again since; run snakemake again"
        ]


def test_an_input_remade_with_the_same_bytes_runs_nothing(tree: Tree):
    tree.time = time.time_ns() - SECOND
    tree.make(DATA)
    assert tree.settle() == set()
    assert tree.asked() == set()


@pytest.mark.slow
def test_deleted_external_scores_and_every_other_file_of_a_run_are_asked_for(tree: Tree):
    """What verify finds missing, the next run makes again: any file of any artefact, its manifest or its key file."""
    wanted = {path: node.key for path, node in tree.graph.nodes.items()}
    owner = {
        file.path: path for path in tree.graph.nodes for file in read_manifest(tree.root / path).all_files
    }
    assert SCORES in owner
    for name in tree.files():
        if "/benchmarks/" in name:
            continue
        content, stamp = (tree.root / name).read_bytes(), (tree.root / name).stat()
        (tree.root / name).unlink()
        if "keys" in Path(name).parts[1:3]:
            assert tree.settle() == set(), name
            assert (tree.root / name).exists()
        else:
            artefact = owner[name.removesuffix(SUFFIX)]
            found = verify(tree.root, wanted).faults
            assert artefact in found or name == f"{artefact}{SUFFIX}", name
            assert tree.settle() == {artefact}, name
            assert tree.asked() == tree.downstream(artefact), name
            (tree.root / name).write_bytes(content)
            os.utime(tree.root / name, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert tree.settle() == set(), name
        assert tree.asked() == set(), name


def test_deleted_files_that_no_target_needs_have_another_remedy(tree: Tree):
    """Features that no configured method reads are made by hand only, and scores of a removed method not at all."""
    unread, removed = "results/toy/features/outputs-000.safetensors", "results/toy/scores/old.safetensors"
    remedies = other_remedies(tree.graph, [LEADERBOARD], [unread, removed, METRICS])
    assert remedies == {
        unread: f"`snakemake {unread}` makes it again",
        removed: "`proponent prune` removes what is left of it",
    }


def test_paths_that_share_an_inode_are_put_in_order_together(tree: Tree):
    """Equal files are one file for DVC's hard links: what moves one of them moves all."""
    shared = (DATA, METRICS, "results/figures/overview.svg")
    tree.contents = dict.fromkeys(shared, "equal\n")
    tree.make_all()
    for name in shared[1:]:
        (tree.root / name).unlink()
        os.link(tree.root / DATA, tree.root / name)
    assert tree.settle() == set()
    assert tree.asked() == set()
    assert (tree.root / DATA).stat().st_nlink == len(shared)
    for name in (key_path(METRICS), LEADERBOARD, DATA):
        (tree.root / name).touch()
        assert tree.settle() == set()
        assert tree.asked() == set(), name


def test_a_ledger_of_a_clock_that_was_wrong_delays_nothing(tree: Tree):
    ledger = json.loads((tree.root / LEDGER).read_text())
    ledger[METRICS] = {str(int(time.time()) + 86400): "0" * 16}
    (tree.root / LEDGER).write_text(json.dumps(ledger))
    before = tree.files()
    assert tree.settle() == set()
    assert tree.files() == before


def test_random_data_remade_under_the_same_key_is_not_mixed_by_a_job(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
):
    """Neither a finished artefact nor what a killed job kept counts for data that were made again since."""
    shard = "results/toy/ground_truth/shards/subsets-0000.safetensors"
    monkeypatch.chdir(tree.root)
    job = Job.load(tree.root / key_path(shard), "retrain")
    assert job.is_done()
    job.write_partial({"targets": torch.zeros(2)})
    assert job.read_partial() is not None
    tree.make(DATA, "random")
    assert not job.is_done()
    assert job.read_partial() is None


def test_rsync_skips_no_file_that_was_replaced_within_a_second(tmp_path: Path):
    path = tmp_path / "scores"
    path.write_text("old")
    earlier = path.stat().st_mtime_ns
    path.write_text("new")
    os.utime(path, ns=(earlier, earlier))
    move_to_new_second(path, earlier)
    assert int(path.stat().st_mtime) > earlier // SECOND


def test_external_scores_of_another_source_are_older_than_what_their_rule_reads(tree: Tree):
    """The user's own rule reads no key file, so that only the times of its inputs can start it."""
    node = tree.graph.nodes[SCORES]
    tree.graph.nodes[SCORES] = replace(node, key="0" * 64)
    try:
        tree.settle()
        assert (tree.root / SCORES).stat().st_mtime < (tree.root / DATA).stat().st_mtime
    finally:
        tree.graph.nodes[SCORES] = node
    assert tree.settle() == set()
    assert tree.asked() == set()


@pytest.mark.slow
def test_snakemake_runs_what_deleted_external_scores_and_settled_times_ask_for(tmp_path: Path):
    """Snakemake itself, over invented bytes: it agrees with the rule by which the other tests decide."""
    checkout = make_checkout(tmp_path / "checkout")
    add_external_method(checkout.root)
    tree = planned_tree(checkout.root, time.time_ns() - HOUR)
    tree.make_all()
    for name in tree.files():
        (tree.root / name).touch()
    assert checkout.planned() == {}
    scores = (tree.root / SCORES).read_bytes()
    (tree.root / SCORES).unlink()
    external = {"mine": 1, "adopt": 1, "evaluate": 1, "summary": 1, "collect": 1, "figures": 1, "overview": 1}
    assert checkout.planned() == external
    (tree.root / SCORES).write_bytes(scores)
    (tree.root / "toy/mine.py").write_text("CHANGED = 1\n")
    assert checkout.planned() == external


@pytest.mark.slow
def test_times_of_two_seconds_are_enough(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    """A file system that rounds times down to two seconds, as FAT does."""

    def rounded(path: Path) -> None:
        seconds = path.stat().st_mtime // 2 * 2
        os.utime(path, (seconds, seconds))

    def write(path: Path, content: object, *, synced: bool) -> None:
        write_json(path, content, synced=synced)
        rounded(path)

    def set_rounded(path: Path, nanoseconds: int) -> None:
        set_time(path, nanoseconds)
        rounded(path)

    monkeypatch.setattr(settle_module, "write_json", write)
    monkeypatch.setattr(settle_module, "set_time", set_rounded)
    monkeypatch.setattr(
        settle_module, "file_system_now", lambda _: time.time_ns() // (2 * SECOND) * 2 * SECOND
    )
    for name in tree.files():
        (tree.root / name).touch()
        rounded(tree.root / name)
    assert tree.settle() == set()
    assert tree.asked() == set()
    second = tree.files()[METRICS]
    tree.make(METRICS, "other")
    for path in (METRICS, f"{METRICS}{SUFFIX}"):
        os.utime(tree.root / path, (second, second))
    assert tree.settle() == {"results/summaries/toy.json"}
    assert tree.files()[METRICS] > second
    assert tree.asked() == tree.downstream(METRICS) - {METRICS}
    assert max(tree.files().values()) <= time.time()
