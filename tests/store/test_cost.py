"""What a job says of its own cost."""

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


def test_a_small_job_of_a_large_controller_says_its_own_peak():
    done = subprocess.run(
        [sys.executable, "-c", LARGE], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert 5 < float(done.stdout) < 350
