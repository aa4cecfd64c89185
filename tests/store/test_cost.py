"""The cost that a job reports for itself."""

from __future__ import annotations

import subprocess
import sys

LARGE = """
import subprocess, sys
block = bytearray(400 * 2**20)
block[::4096] = bytes(len(block[::4096]))
small = "from proponent.steps.io.job import peak_memory_mib; print(peak_memory_mib())"
subprocess.run([sys.executable, "-c", small], check=True)
"""


def test_the_peak_memory_of_a_job_excludes_that_of_its_parent_process():
    done = subprocess.run(
        [sys.executable, "-c", LARGE], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert 5 < float(done.stdout) < 350
