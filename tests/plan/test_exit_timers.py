"""Snakemake exits at once although its scheduler has started timers of a minute."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading
from proponent.plan.exit_timers import cancel_timers_at_exit

cancel_timers_at_exit()
threading.Timer(60, print, ["the timer has ended"]).start()
{end}
"""


@pytest.mark.parametrize("end", ["print('done')", "print('done'); raise KeyboardInterrupt"])
def test_no_timer_outlasts_the_main_thread(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end=end)], stdout=subprocess.PIPE, text=True, timeout=50
    )
    assert done.stdout == "done\n"


def test_a_timer_that_ends_before_the_main_thread_has_its_effect() -> None:
    program = PROGRAM.replace("60", "0.01").format(end="threading.Event().wait(0.5)")
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=50)
    assert done.stdout == "the timer has ended\n"
