"""What a person at a terminal reads: results always, progress only where somebody is looking."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click


def tell(line: str) -> None:
    """Print a line that belongs in a log as well."""
    click.echo(line)


def is_watched() -> bool:
    """Whether output goes to a terminal rather than to a file or a pipe."""
    return sys.stdout.isatty()


def show_epoch(prefix: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
    """Print the line of an epoch, if anybody is watching."""
    if is_watched():
        click.echo(
            f"{prefix}epoch {epoch:>{len(str(epochs))}}/{epochs}"
            f"  train loss {metrics['train_loss']:.3f} accuracy {metrics['train_accuracy']:.3f}"
            f"  validation loss {metrics['val_loss']:.3f} accuracy {metrics['val_accuracy']:.3f}"
        )


def load_tensorflow() -> None:
    """Import TensorFlow without the lines that its libraries write about drivers and processors.

    They come from C++ before any setting of its log level counts, so the stream itself is put
    aside meanwhile; an exception is told as ever, once it is back.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for devices, and says so
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
