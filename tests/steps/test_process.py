"""Settings of a job's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from proponent.steps.io.process import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(77)
import resource
import torch

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    torch.ones(10_000_000)  # 40 MB, above what glibc keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("the C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_memory_of_tensors_below_64_mib_is_reused() -> None:
    assert page_faults("keep") * 2 < page_faults("default")


IMPORT = """
import gc
from proponent.steps.io.process import importing

passes = []
gc.callbacks.append(lambda phase, details: passes.append(phase))
try:
    with importing():
        import torch
        import a_module_that_is_not_there
except ModuleNotFoundError:
    pass
print(len(passes), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


@pytest.mark.slow
def test_an_import_is_not_interrupted_by_the_garbage_collector_which_works_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "True", "True"], done.stderr
