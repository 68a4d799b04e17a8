"""What an ending means for a run: SIGTERM as an exception, and every exception as a status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where the program stood, so that it ends as it does on Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`; outside the main thread, leave signals as they are."""

    def raise_terminated(_number: int, _frame: FrameType | None) -> None:
        raise Terminated("SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        # None stands for a handler that Python did not set and can't set again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def status_of(error: BaseException | None) -> str:
    """The status of a run that this error ended; None is its normal end."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
