"""Exit of Snakemake without waiting for the timers of its scheduler."""

from __future__ import annotations

import threading


def cancel_timers_at_exit() -> None:
    """Cancel all running :class:`threading.Timer` objects when the main thread has ended.

    Snakemake's scheduler starts timers that last as long as the span of ``max-jobs-per-timespan``, a minute in
    profiles/default, and Python waits for them before it exits. After the last job they have no effect. Hooks of the
    Snakefile (``onsuccess``, ``onerror``) cannot do this, because jobs on a cluster run with ``--no-hooks``.
    """
    threading.Thread(target=_cancel_after_main_thread, daemon=True).start()


def _cancel_after_main_thread() -> None:
    threading.main_thread().join()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
