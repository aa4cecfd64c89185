"""A function's result in another process, in which no module of the user's has been imported before."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def in_fork(function: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Return what ``function`` returns in a fork of this process; None if it fails there or takes too long.

    The fork starts from this process's modules: what is imported in it first, it imports anew.

    Args:
        function: without arguments; its result is pickled.
        seconds: time after which the fork is stopped.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(function, sender), daemon=True)
    process.start()
    sender.close()
    try:
        return pickle.loads(receiver.recv_bytes()) if receiver.poll(seconds) else None  # noqa: S301 - from our own fork
    except EOFError:
        return None
    finally:
        receiver.close()
        process.kill()
        process.join()


def _send(function: Callable[[], Any], sender: Any) -> None:
    torch.set_num_threads(1)  # a fork has none of the other threads
    # As in a process of its own, numbers that are drawn without a seed are others.
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()
    with contextlib.suppress(Exception):
        sender.send_bytes(pickle.dumps(function()))
