"""Signals that ask the program to end: one exception, and nothing that cuts its clean-up short."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self

# A closed terminal sends SIGHUP, which Windows does not know.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# After the first signal, for so long, further ones change nothing: `mlflow run` answers Ctrl-C
# with a SIGTERM of its own, up to a second later. What is stuck for longer can be interrupted.
HOLD_SECONDS = 30.0
WATCH_SECONDS = 1.0
AGAIN_SECONDS = 0.01
SHELLS = ("ash", "bash", "dash", "fish", "ksh", "sh", "zsh", "cmd.exe")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised where the program stood, so that it ends as it does on Ctrl-C.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or signal.Signals(number).name)
        self.number = number


class _State:
    """What is known of signals in this process; only the main thread handles any."""

    installed = False
    deferred = False
    pending: int | None = None
    held_until = 0.0
    launcher_gone = False


@contextmanager
def raised() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise: the first of them, where the program stands.

    Those that follow within `HOLD_SECONDS` are passed over, so that whatever the exception
    passes on its way out may clean up in peace. One that comes while Python calls what it lets
    nothing out of, such as `__del__`, is raised again when that is over. Inside another such block,
    and outside the main thread, nothing changes; a signal that is ignored, as `nohup` has it, stays
    ignored.
    """
    if _State.installed or not _in_main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    _State.pending, _State.held_until, _State.deferred = None, 0.0, False
    _State.installed = True
    hook_before = sys.unraisablehook
    sys.unraisablehook = partial(_raise_again, otherwise=hook_before)
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _handle)
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that Python did not set and can't set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        sys.unraisablehook = hook_before
        _State.installed = False


class deferred:  # noqa: N801 - it is used as a function
    """A block that no signal cuts short; what comes meanwhile is raised at its end."""

    def __enter__(self) -> Self:
        self._before = _State.deferred
        if _in_main_thread():
            _State.deferred = True
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        if _in_main_thread():
            _State.deferred = self._before
            _raise_pending()


class allowed:  # noqa: N801 - it is used as a function
    """Inside `deferred`, a block that signals do cut short; what had come is raised at once."""

    def __enter__(self) -> Self:
        self._before = _State.deferred
        if _in_main_thread():
            _State.deferred = False
            try:
                _raise_pending()
            except BaseException:
                _State.deferred = self._before
                raise
        return self

    # Until its first line has run, a signal may still be raised here; then it is held.
    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        if _in_main_thread():
            _State.deferred = self._before


def is_pending() -> bool:
    """Whether a signal has come that waits for the end of a `deferred` block."""
    return _State.pending is not None and _in_main_thread()


def exit_status(error: KeyboardInterrupt) -> int:
    """What a shell calls a process that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


def follow_launcher() -> None:
    """Take the end of the process that launched this one for SIGTERM.

    SIGTERM or SIGKILL to `mlflow run` ends it alone; the command that it started would train on,
    seen by nobody. It starts the command by way of `bash -c`, which stays in between or does not.
    """
    import psutil  # after the check for missing packages

    try:
        launcher = psutil.Process().parent()
        while launcher is not None and launcher.name() in SHELLS:
            launcher = launcher.parent()
    except psutil.Error:
        return
    if launcher is None or launcher.pid <= 1:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and _lives(launcher):
            time.sleep(WATCH_SECONDS)
        _State.launcher_gone = True
        _send(signal.SIGTERM)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


def launcher_is_gone() -> bool:
    """Whether the process that `follow_launcher` watches has ended."""
    return _State.launcher_gone


def _handle(number: int, _frame: FrameType | None) -> None:
    if time.monotonic() < _State.held_until:
        return  # one more would cut the clean-up's last wait short
    _State.pending = number
    if not _State.deferred:
        _raise_pending()


def _raise_pending() -> None:
    if _State.pending is None:
        return
    # In this order: between two lines another signal may come, and is then passed over.
    _State.held_until = time.monotonic() + HOLD_SECONDS
    number, _State.pending = _State.pending, None
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(number, "its launcher is gone" if _State.launcher_gone else "")


def _raise_again(
    unraisable: sys.UnraisableHookArgs, *, otherwise: Callable[[sys.UnraisableHookArgs], object]
) -> None:
    """What Python does with an exception that it can't let out, which is to print it."""
    lost = unraisable.exc_value
    if not isinstance(lost, KeyboardInterrupt):
        otherwise(unraisable)
        return
    _State.held_until = 0.0
    number = lost.number if isinstance(lost, Terminated) else signal.SIGINT

    def again() -> None:
        time.sleep(AGAIN_SECONDS)
        _send(number)

    # Not by `threading`, whose locks may be held by what was interrupted.
    _thread.start_new_thread(again, ())


def _send(number: int) -> None:
    """Send a signal to the main thread, from another."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
