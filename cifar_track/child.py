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
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from cifar_track.environment import settle, variables

# Whom these end did nothing to deserve it: the system wants its memory, or somebody its machine.
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


def launch(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    *,
    name: str,
    daemon: bool,
    environment: Mapping[str, str],
) -> tuple[Connection, BaseProcess]:
    """Start a process that is heard of through a connection, which is its last argument.

    Args:
        target: what it runs; pickled by its name.
        arguments: of the target, before the connection.
        name: of the process.
        daemon: whether it ends with its parent's end, and may start none itself.
        environment: variables it has beside its parent's.

    Returns:
        The connection, whose end is the process's, and the process.
    """
    context = multiprocessing.get_context("spawn")
    connection, its_end = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, its_end), name=name, daemon=daemon)
    try:
        start(process, environment=environment)
    except BaseException:
        connection.close()
        raise
    finally:
        its_end.close()  # so that its death is the end of the pipe
    return connection, process


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
    """To be called in a process that `start` started, once its signals have handlers."""
    settle()
    # Blocked by the parent while it started this process, so that it inherits the mask.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_die_with_parent, daemon=True).start()


def leave(connection: Connection, last: object) -> NoReturn:
    """Say the last that a process has to say, and end it."""
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more
        connection.send(last)
        connection.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is said. TensorFlow takes a second to come apart, and at times crashes over it.
    os._exit(0)


def death(process: BaseProcess) -> tuple[str, bool]:
    """How a process ended that did not say all: in words, and whether somebody else ended it."""
    code = process.exitcode
    if code is None or code >= 0:
        return f"ended with exit code {code} before its work was done", False
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    memory = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}", name in FROM_OUTSIDE


def last_line(said: str | None, *, otherwise: str = "no reason is known") -> str:
    """The last line of what a process said; of a traceback, the one that says what was wrong."""
    lines = (said or "").strip().splitlines()
    return lines[-1].strip() if lines else otherwise


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
