"""Facts about this process and settings of it that a job fixes or records."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from proponent.seeds import HASH_SEED

_PR_SET_PDEATHSIG = 1
"""Option of prctl(2)."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""


def prepare_libraries(threads: int) -> None:
    """Fix how every numerical library uses threads and memory; must be called before any of them is imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["MKL_DYNAMIC"] = "FALSE"
    os.environ["OMP_DYNAMIC"] = "FALSE"
    # Huge pages for large tensors, if the kernel has them: on a virtual machine new memory came four times as fast.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    keep_freed_memory()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import modules within the block without the garbage collector, which takes three tenths of the import of torch.

    It never looks at them afterwards either: modules stay, and in a fork it would write to pages that are shared.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def fix_hash_seed() -> None:
    """Start this command again with the hash seed of jobs, if it was started by hand without it.

    Python reads the seed when it starts; without one, the order of a set of text differs between processes.
    """
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command


def keep_freed_memory() -> bool:
    """Let the C library reuse the memory of medium-sized tensors instead of returning it to the kernel at every step.

    Retraining allocates tensors of some MiB in each step, and the kernel clears each page anew: on 2 CPU cores that was 7 %
    (MNIST network) to 15 % (logistic regression) of a job's CPU time. Tensors above 64 MiB still go back at once, so that
    peak memory hardly grows.

    Returns:
        Whether the C library accepted it; only glibc has the call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 64 << 20) and mallopt(_M_TRIM_THRESHOLD, 256 << 20))


def ending_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a new process does first: ask Linux for a signal when its parent ends, even by SIGKILL."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number)

    return ask


def peak_memory_mib() -> float:
    """Return the largest resident set of this process so far, in MiB.

    Linux's own record is preferred: the value of ``getrusage`` starts from the resident set of the process that started
    this one, which may be a large controller.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def announce(step: str, key_file: Path) -> None:
    """Print the command of this job, the first line of its log: it can be run by hand."""
    print(f"proponent {step} {key_file}", file=sys.stderr, flush=True)


def git_commit(root: Path) -> str | None:
    """Return the commit that is checked out at ``root``, or None outside a repository."""
    # In a folder of several users, git reads a repository of another user only if it is named.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except OSError:
        return None
    return done.stdout.strip() or None
