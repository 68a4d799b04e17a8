"""Whether the person wants results alone, asked by whoever shows how far something is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

_KEY = "cifar_track.quiet"


def be_quiet(context: click.Context, *, quiet: bool) -> None:
    """Note for the verb that is about to run whether it was told `quiet=true`."""
    context.meta[_KEY] = quiet


@contextmanager
def told(*, quiet: bool) -> Iterator[None]:
    """A block that was told `quiet=true` or not, in a process that no verb runs in."""
    with click.Context(click.Command("")) as context:
        be_quiet(context, quiet=quiet)
        yield


def is_quiet() -> bool:
    """Whether the verb was told `quiet=true`: results are printed, progress is not."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_KEY))
