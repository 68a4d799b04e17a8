"""The standard streams, so that nothing that is printed can end the program."""

from __future__ import annotations

import contextlib
import io
import os
import sys


class _Forgiving(io.TextIOWrapper):
    """A text stream where a write that fails costs what was to be written, and no more."""

    # Not of the raw stream below: a signal that raised there, in between, would have what is
    # written already written again.

    def write(self, text: str, /) -> int:
        """Write what can be written; the length of all of it."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with contextlib.suppress(OSError):
            super().flush()


def settle() -> None:
    """Let this process print whatever becomes of its output, and so end as its work ends.

    A reader may be gone (`| head`), the disk of a log full, the terminal closed, its encoding not
    know a sign: a run that trains for hours goes on. Streams that were closed from the beginning
    lead nowhere, here and in processes that are started from here, so that no file that is opened
    afterwards gets what is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number is free
    if sys.stdout is sys.__stdout__:  # else somebody has put another in its place
        sys.stdout = _forgiving(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _forgiving(sys.stderr, 2)


def _forgiving(stream: object, descriptor: int) -> _Forgiving:
    known = stream if isinstance(stream, io.TextIOWrapper) else None
    if known is not None:
        known.flush()
    return _Forgiving(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
        encoding=known.encoding if known else "utf-8",
        errors="backslashreplace",
        line_buffering=known is None or known.line_buffering or known.write_through,
    )
