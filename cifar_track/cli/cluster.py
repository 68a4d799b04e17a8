"""Where the trials of a search run, as options: those of a cluster, or why a verb has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cifar_track.config import CifarTrackError, Cluster

Function = TypeVar("Function", bound=Callable[..., Any])


def cluster_options(verb: Function) -> Function:
    """`--cluster`, `--cpus` and `--gpus`, which `asked_cluster` then reads."""
    verb = click.option(
        "--gpus", type=click.IntRange(min=0), help="Of a cluster: GPUs of a trial.  [default: 0]"
    )(verb)
    verb = click.option(
        "--cpus", type=click.IntRange(min=1), help="Of a cluster: cores of a trial.  [default: 1]"
    )(verb)
    return click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Run the trials of a search on this Ray cluster: the HOST:PORT of its head, or auto.",
    )(verb)


def asked_cluster(address: str | None, *, cpus: int | None, gpus: int | None) -> Cluster | None:
    """What was asked for by `cluster_options`, or None for this machine.

    Raises:
        CifarTrackError: the address is none, or a trial's share is given without one.
    """
    if address is None:
        if cpus is not None or gpus is not None:
            raise CifarTrackError("--cpus and --gpus are for --cluster, which is not given")
        return None
    return Cluster(address=address, cpus=cpus or 1, gpus=gpus or 0)


def no_cluster(reason: str) -> Callable[[Function], Function]:
    """In place of `cluster_options` in a verb that has no use for them: they are told why."""

    def refuse(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise CifarTrackError(f"--cluster is for the trials of a search; {reason}")

    return click.option(
        *("--cluster", "--cpus", "--gpus", "where"),
        hidden=True,
        expose_value=False,
        callback=refuse,
        help=f"Not here: {reason}.",
    )
