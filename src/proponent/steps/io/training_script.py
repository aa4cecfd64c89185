"""Runs of a training script of the user's own: one process per model, which writes into a folder of its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proponent.config.training_command import fill
from proponent.errors import UserError
from proponent.steps.io.job import Job
from proponent.steps.io.process import ending_with_parent, peak_memory_mib
from proponent.store.files import write_json
from proponent.store.job_log import log_tail
from proponent.training.designs import Run

_RECORD = "finished.json"
_SEEDS = 2**31
"""Seeds of scripts are below this number, which every library accepts."""


class TrainingScript:
    """The command of a setting, run for one model at a time.

    Each run has a new folder next to the artefact, so that a process that outlives its job cannot write into the folder of
    a later run. A model that is whole can be kept there, and is then found by a later attempt at the same key.

    Args:
        job: job that trains the models; its inputs must have been read.
        setting: name of the setting, for messages.
        arguments: command as arguments, with placeholders.
        data: folder with the stored data.
        n_train: number of training examples.
    """

    def __init__(
        self, job: Job[Any, Any], setting: str, arguments: Sequence[str], data: Path, n_train: int
    ) -> None:
        self._job, self._setting, self._arguments = job, setting, arguments
        self._data, self._n_train = data, n_train
        self._folder = job.work
        self._earlier, self._earlier_peak = 0.0, 0.0
        refuse_missing_program(arguments[0], job.root, setting)
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.iterdir():
            if self._record(leftover) is None:
                shutil.rmtree(leftover, ignore_errors=True)

    def run(self, model: str, run: Run) -> Path:
        """Train one model, and return the folder that the command wrote.

        Args:
            model: name of the model, for messages and folders.
            run: seeds and kept examples.

        Raises:
            UserError: the command ended with an error, or one of its files changed.
        """
        attempt = Path(tempfile.mkdtemp(prefix=f"{model.replace(' ', '-')}-", dir=self._folder))
        out, indices = attempt / "out", attempt / "indices.txt"
        out.mkdir()
        kept = range(self._n_train) if run.mask is None else run.mask.nonzero().flatten().tolist()
        indices.write_text("".join(f"{index}\n" for index in kept), encoding="ascii")
        seed = script_seed(run.init_seed)
        values = {
            "seed": seed,
            "indices": indices,
            "out": out,
            "data": self._data,
            "threads": self._job.threads,
            "device": self._job.device,
        }
        started = self._job.seconds()
        code = self._call(fill(self._arguments, values), attempt / "output.log")
        if code != 0:
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
            said = "; ".join(log_tail(attempt / "output.log", 1)) or "it printed nothing"
            raise self.problem(f"{how} for {model} (seed {seed}, {len(kept)} examples): {said}")
        self._job.check_files()  # every model starts the script anew, perhaps after an edit
        write_json(attempt / "seconds.json", self._job.seconds() - started)
        return out

    def keep(self, model: str, out: Path) -> Path:
        """Keep the folder of a model that is whole for later attempts, and return its new place."""
        for file in out.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        seconds = json.loads((out.parent / "seconds.json").read_text(encoding="ascii"))
        record = {**self._job.made_from, "seconds": seconds, "peak_memory_mib": _peak_of_processes_mib()}
        write_json(out.parent / _RECORD, record)
        place = self._folder / model.replace(" ", "-")
        out.parent.rename(place)
        return place / out.name

    def kept(self, model: str) -> Path | None:
        """Return the folder that an earlier attempt kept of a model, and count its cost; None if there is none."""
        place = self._folder / model.replace(" ", "-")
        record = self._record(place)
        if record is None:
            return None
        self._earlier += record["seconds"]
        self._earlier_peak = max(self._earlier_peak, record["peak_memory_mib"])
        return place / "out"

    def discard(self, out: Path) -> None:
        """Remove the folder of a model that is no longer needed."""
        shutil.rmtree(out.parent, ignore_errors=True)

    def charge(self) -> None:
        """Record the cost of the job: the time of all attempts, and the memory of its largest process."""
        peak = max(peak_memory_mib(), _peak_of_processes_mib(), self._earlier_peak)
        self._job.measured = (self._job.seconds() + self._earlier, peak)

    def problem(self, text: str) -> UserError:
        """Return the error of a finding about the command: the file of the setting, and one line."""
        return UserError(f"configs/settings/{self._setting}.yaml: training.command {text}")

    def _record(self, place: Path) -> dict[str, Any] | None:
        """Return the record of a kept model; None if it belongs to another key or to other inputs, or is no such folder."""
        try:
            record: dict[str, Any] = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        made_from = self._job.made_from
        return record if {name: record.get(name) for name in made_from} == made_from else None

    def _call(self, command: list[str], log: Path) -> int:
        """Run a command in the checkout, copy what it prints to the log of the job, and return its exit code."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with log.open("w", encoding="utf-8") as copy:
            process = subprocess.Popen(  # noqa: S603 - the command of the setting, without a shell
                command,
                cwd=self._job.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                preexec_fn=ending_with_parent(signal.SIGKILL),
            )
            try:
                for line in process.stdout or ():
                    copy.write(line)
                    print(line, end="", file=sys.stderr, flush=True)
                return process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def script_seed(seed: int) -> int:
    """Return the seed that a script is given for a seed of this project."""
    return seed % _SEEDS


def refuse_missing_program(program: str, root: Path, setting: str) -> None:
    """Raise a UserError if the program of a command can be found neither in the checkout nor on the ``PATH``."""
    found = shutil.which(program if os.sep not in program else str(root / program))
    if found is None:
        raise UserError(
            f"configs/settings/{setting}.yaml: training.command: there is no program '{program}' on this machine; activate "
            "its environment, or give its path"
        )


def _peak_of_processes_mib() -> float:
    """Return the largest resident set of the processes that have ended, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
