"""What a person reads: results always, progress unless told to be quiet."""

from __future__ import annotations

import gc
import logging
import os
import sys

from cifar_track import environment
from cifar_track.quiet import is_quiet

FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS")


def tell(line: str) -> None:
    """Print a line that belongs in a log as well."""
    # Not by click, which looks for the stream below and so writes into the middle of a bar.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def is_watched() -> bool:
    """Whether somebody looks at a terminal that can redraw a line, and wants to see it move."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not is_quiet()


def load_tensorflow() -> None:
    """Import TensorFlow without the lines that its libraries write about drivers and processors.

    They come from C++ before any setting of its log level counts, so the stream itself is put
    aside meanwhile; an exception is told as ever, once it is back. Not where the person has set
    flags for these libraries: one that they don't know ends the process with such a line.

    Raises:
        CifarTrackError: a number of threads in the environment is none.
    """
    environment.require_threads()
    if any(os.environ.get(name) for name in FLAGS):
        _load()
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        _load()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _load() -> None:
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for devices, and says so
    # Python's own 700 would cost a second of what is imported from here on. A process that trains
    # or serves for hours must not let a million objects lie, as a command of seconds may.
    gc.set_threshold(100_000)
    logging.getLogger("tensorflow").addFilter(_is_no_advice_on_tracing)


def _is_no_advice_on_tracing(record: logging.LogRecord) -> bool:
    """Whether a line is other than the one for loops that build the same function again.

    A process that trains and asks one network after another builds each one's function once.
    """
    return "triggered tf.function retracing" not in record.getMessage()
