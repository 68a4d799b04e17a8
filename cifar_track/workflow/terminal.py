"""What a person at a terminal reads: results always, progress only where somebody is looking."""

from __future__ import annotations

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
