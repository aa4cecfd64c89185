"""Never lost: a run that is killed at any time and started again ends with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from workflow.checkout import Checkout

pytestmark = pytest.mark.slow


def start(checkout: Checkout, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        checkout.command(*arguments),
        cwd=checkout.root,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def jobs_of(checkout: Checkout) -> list[int]:
    """Return the process IDs of the steps that run in a checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            inside = (entry / "cwd").resolve() == checkout.root.resolve()
        except OSError:
            continue
        if inside and b"bin/proponent" in command and b"snakemake" not in command:
            found.append(int(entry.name))
    return found


def test_a_controller_started_again_after_kill_9_completes_the_run(fresh, finished_run):
    """It is killed while jobs of three rules run, and started again each time."""
    for job in ("retrain", "featurize", "trak"):
        process = start(fresh)
        wait_for_log(fresh, job)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it still runs when {job} has begun"
    printed = fresh.snakemake().stdout
    assert "steps (100%) done" in printed
    assert fresh.tensors() == finished_run.tensors()
    assert fresh.planned() == {}


def test_a_killed_job_is_run_again_the_others_are_kept_and_the_number_of_cores_changes_no_byte(
    fresh, finished_run
):
    process = start(fresh, "--cores", "1")
    wait_for_log(fresh, "retrain-subsets-0001")
    killed = jobs_of(fresh)
    for job in killed:
        os.kill(job, signal.SIGKILL)
    assert process.wait(timeout=600) != 0
    assert killed
    before = {path: (fresh.root / path).stat().st_ino for path in fresh.tensors()}
    fresh.snakemake("--cores", "1")
    kept = [path for path, inode in before.items() if (fresh.root / path).stat().st_ino == inode]
    assert sorted(kept) == sorted(before), "complete artefacts are not made again"
    assert fresh.tensors() == finished_run.tensors(), "of a run on two cores"


def test_a_truncated_result_is_not_current(checkout):
    victim = sorted(checkout.tensors())[len(checkout.tensors()) // 2]
    half = checkout.root / victim
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    assert checkout.planned() != {}, f"a truncated {victim} is noticed before any job runs"


SHARD = "results/toy/ground_truth/shards/subsets-0000.safetensors"

WATCHED_NET = '''

def net(width: int = 5) -> torch.nn.Module:
    """A small network; a retraining records its construction, and the fourteenth one kills the job like a power cut."""
    import os
    import sys
    from pathlib import Path

    if "retrain" in sys.argv:
        with Path("built.txt").open("a") as built:
            built.write("one ")
        if Path("power-cut").exists() and Path("built.txt").stat().st_size == 14 * 4:
            os.kill(os.getpid(), 9)
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 3))
'''


@pytest.fixture
def cut_short(fresh) -> Checkout:
    """A checkout in which a shard of 20 retrainings, five at a time, was killed in its third group."""
    with (fresh.root / "toy/factories.py").open("a") as factories:
        factories.write(WATCHED_NET)
    fresh.edit("params.yaml", "lockstep: 20", "lockstep: 5")
    (fresh.root / "power-cut").touch()
    assert fresh.snakemake(SHARD, check=False).returncode != 0
    assert not (fresh.root / SHARD).exists()
    (fresh.root / "power-cut").unlink()
    (fresh.root / "built.txt").unlink()
    return fresh


def trained(checkout: Checkout) -> int:
    """Return the number of models that were trained, in groups of five.

    One more is built to check its output, and one per group to look for state that parameters do not hold.
    """
    return (len((checkout.root / "built.txt").read_text().split()) - 1) * 5 // 6


def test_a_killed_shard_continues_after_the_last_group_that_it_finished(cut_short):
    cut_short.snakemake(SHARD)
    assert trained(cut_short) == 10, "the third and the fourth group"
    resumed = (cut_short.root / SHARD).read_bytes()
    assert not list((cut_short.root / SHARD).parent.glob(".*")), "the partial file is removed"

    (cut_short.root / SHARD).unlink()
    (cut_short.root / "built.txt").unlink()
    cut_short.snakemake(SHARD)
    assert trained(cut_short) == 20
    assert (cut_short.root / SHARD).read_bytes() == resumed


def test_the_partial_file_of_another_recipe_is_not_used(cut_short):
    cut_short.edit("configs/settings/toy.yaml", "lr: 0.2", "lr: 0.1")
    cut_short.snakemake(SHARD)
    assert trained(cut_short) == 20
    assert not list((cut_short.root / SHARD).parent.glob(".*"))


def wait_for_log(checkout: Checkout, name: str) -> None:
    """Wait until a job has begun whose log has a name that starts with ``name``."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list((checkout.root / "logs").glob(f"**/{name}*.log")) or list(
            (checkout.root / "logs").glob(f"**/attribute-{name}*.log")
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"no job {name} began")
