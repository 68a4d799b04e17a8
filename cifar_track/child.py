"""What every process that the program starts of itself does: it dies with its parent."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

from cifar_track.environment import settle, variables


def start(process: BaseProcess, *, environment: Mapping[str, str]) -> None:
    """Start a process with environment variables beside its parent's.

    SIGINT stays blocked in it: a Ctrl-C reaches the whole group, and the parent alone answers it.
    """
    # Else started with the first process, and it unblocks the signals that `_held` blocks.
    resource_tracker.ensure_running()
    settle()
    with _held(signal.SIGINT, signal.SIGTERM), variables(environment):
        process.start()


def begin() -> None:
    """To be called first in a process that `start` started."""
    # Blocked by the parent while it started this process, so that it inherits the mask.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_die_with_parent, daemon=True).start()


def print_to(log: Path) -> None:
    """Send all that this process prints to a file, TensorFlow's own lines and a crash's too."""
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    faulthandler.enable(sys.stderr)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _held(*signals: signal.Signals) -> Iterator[None]:
    """Holds signals back for a moment; a process started meanwhile has them blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
