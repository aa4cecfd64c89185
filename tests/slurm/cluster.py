"""Python interface to the Slurm of these tests (`tests/slurm/cluster`), and a checkout whose shards can be held."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from workflow.checkout import Checkout, make_checkout

SCRIPT = Path(__file__).with_name("cluster")
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sbatch")

FATES = '''
plain_net = net
_met: list[bool] = []


def meet_fate() -> None:
    """Record that the shard began, then wait or allocate memory, as fates.json asks by the name of the shard."""
    import json
    import os
    import sys
    import time
    from pathlib import Path

    shard = Path(sys.argv[-1]).name.split(".")[0]
    job = os.environ.get("SLURM_JOB_ID", "none")
    Path("began").mkdir(exist_ok=True)
    Path("began", f"{shard} {job} {os.getpid()}").touch()
    fates = json.loads(Path("fates.json").read_text()) if Path("fates.json").exists() else {}
    if fates.get(shard) == "hold":
        while Path("hold").exists():
            time.sleep(0.1)
    if fates.get(shard) == "memory":
        block = bytearray(2_200_000_000)
        block[::4096] = bytes(len(block[::4096]))
        time.sleep(5)


def net(width: int = 5) -> torch.nn.Module:
    """A small network whose first construction in a job meets the fate of the shard."""
    if not _met:
        _met.append(True)
        meet_fate()
    return plain_net(width)
'''

TRUTH = "results/toy/ground_truth/subsets.safetensors"
SHARDS = ("subsets-0000", "subsets-0001")
"""The shards from which ``TRUTH`` is merged."""


@dataclass
class Cluster:
    """A running Slurm below one folder."""

    folder: Path

    def control(self, command: str, *arguments: str) -> None:
        """Run `tests/slurm/cluster`."""
        subprocess.run([SCRIPT, command, self.folder, *arguments], check=True, timeout=180)

    def ask(self, *command: str) -> str:
        """Run one of Slurm's own commands and return what it printed."""
        return subprocess.run(
            command, env=self.environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=60
        ).stdout

    def answers(self, *command: str) -> bool:
        """Return whether one of Slurm's own commands succeeds."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    def state(self, job: str) -> str:
        """Return the state of a job according to the controller, not the accounting."""
        return self.ask("scontrol", "show", "job", job).split("JobState=")[1].split()[0]

    def node(self, job: str) -> str:
        """Return the node on which a job runs, or ran last."""
        return self.ask("scontrol", "show", "job", job).split(" NodeList=")[1].split()[0]

    def history(self, job: str, *fields: str) -> list[list[str]]:
        """Return fields of all attempts at a job from the accounting, after it has recorded the end of the job."""
        asked = ["sacct", "-X", "-n", "-P", "-D", "-j", job, f"--format=State,End,{','.join(fields)}"]

        def rows() -> list[list[str]]:
            return [line.split("|") for line in self.ask(*asked).splitlines()]

        until(lambda: rows() and all(row[1] != "Unknown" for row in rows()), f"the accounting knows {job}")
        return [row[2:] for row in rows()]

    def hurry(self) -> None:
        """Start requeued jobs now; Slurm would make them wait for two minutes."""
        for number in self.ask("squeue", "-h", "-t", "PENDING", "-o", "%i").split():
            self.answers(
                "scontrol", "update", f"jobid={number}", "starttime=now"
            )  # fails if it has just begun

    def clear(self) -> None:
        """Cancel the jobs that a test left and restart the daemons that it killed."""
        for name in ("slurmdbd", "slurmctld", "slurmd-g1", "slurmd-g2"):
            if not (self.folder / f"pid/{name}.started").exists():
                self.control("start", name)
        until(lambda: self.answers("scancel", "--user=root"), "the controller answers")
        until(lambda: not self.ask("squeue", "-h"), "no jobs are left")
        until(
            lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split().count("idle") >= 6, "all nodes are idle"
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def jobs(self, checkout: Checkout, *fields: str) -> list[list[str]]:
        """Return fields of all jobs of a checkout from the accounting."""
        asked = ["sacct", "-X", "-n", "-P", "-D", f"--format=WorkDir,{','.join(fields)}"]
        rows = [line.split("|") for line in self.ask(*asked).splitlines()]
        return [row[1:] for row in rows if row[0] == str(checkout.root)]

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node and everything that runs on it, as a power failure does."""
        self.control("kill", f"slurmd-{node}")
        numbers = self.ask("squeue", "-h", "-w", node, "-o", "%i").split()
        for supervisors in (True, False):
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    titled = (entry / "cmdline").read_bytes().startswith(b"slurmstepd: [")
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                    mine = any(f"SLURM_JOB_ID={number}".encode() in environment for number in numbers)
                    mine |= titled and any(f"[{number}." in command for number in numbers)
                    if mine and titled == supervisors:
                        os.kill(int(entry.name), signal.SIGKILL)


@dataclass
class SlurmCheckout(Checkout):
    """A checkout whose runs go to the cluster."""

    cluster: Cluster
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        # The unchanged profile, except that Slurm is asked more often than is polite on a shared machine.
        pace = ["--slurm-init-seconds-before-status-checks", "1", "--max-status-checks-per-second", "2"]
        pace += ["--max-jobs-per-timespan", "10/1s"]
        return [sys.executable, "-m", "snakemake", *arguments, "--profile", "slurm", *pace]

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*self.command(*arguments), check=check)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **{"SLURM_CONF": str(self.cluster.folder / "slurm.conf")}}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run and return at once; its output goes to `printed.txt`."""
        with (self.root / "printed.txt").open("a") as printed:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment(),
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def printed(self) -> str:
        return (self.root / "printed.txt").read_text()

    def fates(self, **fates: str) -> None:
        """Choose what happens to shards; those with the fate "hold" wait for :meth:`release`."""
        named = {name.replace("_", "-"): fate for name, fate in fates.items()}
        (self.root / "fates.json").write_text(json.dumps(named))
        (self.root / "hold").touch()

    def release(self) -> None:
        (self.root / "hold").unlink()

    def began(self, shard: str) -> list[str]:
        """Return the Slurm job number of every time that the work of a shard began."""
        folder = self.root / "began"
        found = sorted(folder.glob(f"{shard} *"), key=lambda path: path.stat().st_mtime_ns)
        return [path.name.split()[1] for path in found]

    def is_made(self, shard: str) -> bool:
        """Return whether a shard is complete."""
        return (self.root / f"results/toy/ground_truth/shards/{shard}.safetensors.manifest.json").exists()

    def ended(self, shard: str) -> bool:
        """Return whether a shard is complete and the last of its jobs has ended."""
        return self.is_made(shard) and self.cluster.state(self.began(shard)[-1]) == "COMPLETED"

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait for a run and assert that it succeeded."""
        assert process.wait(timeout=400) == 0, self.printed()

    def stop(self) -> None:
        """Stop the runs that a failed test left, and their jobs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.cluster.clear()

    def without_truth(self) -> None:
        """Remove the ground truth of the subsets, and the records of an earlier run."""
        for path in (self.root / "results/toy/ground_truth").rglob("subsets*"):
            path.unlink()
        shutil.rmtree(self.root / "began")

    def truth(self) -> dict[str, bytes]:
        return self.bytes_of("toy/ground_truth/**/*.safetensors")


def make_toy(root: Path) -> Checkout:
    """Lay out a checkout whose jobs meet fates, with smaller designs than the toy setting; nothing is run."""
    checkout = make_checkout(root)
    with (root / "toy/factories.py").open("a") as factories:
        factories.write(FATES)
    checkout.edit("configs/settings/toy.yaml", "count: 20", "count: 10")
    checkout.edit("configs/settings/toy.yaml", "count: 5", "count: 4")
    checkout.edit(
        "params.yaml", "models_per_job: 20, lockstep: 20", "device: auto, models_per_job: 10, lockstep: 10"
    )
    (root / "slurm").symlink_to("profiles/slurm")
    return checkout


def until(happened: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Wait until ``happened`` returns a true value; fail with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.3)
