"""`move-runs`: a laptop's runs to the team's server."""

from __future__ import annotations

import click

from cifar_track.cli.verb import Verb


@click.command("move-runs", cls=Verb)
@click.argument("source", metavar="FROM", help="The store to read.")
@click.argument("destination", metavar="TO", help="The store to write to.")
def move_runs(*, source: str, destination: str) -> None:
    """Copy runs, their children, models and registered versions from one store to another.

    Both are addresses, as MLFLOW_TRACKING_URI takes them, or paths of SQLite files. FROM is
    only read. What TO has already is left alone, so that the same command again adds nothing, and
    goes on with what was cut short.

    \b
    Examples:
      python -m cifar_track move-runs mlflow.db http://localhost:5000
    """
    from cifar_track import workflow

    workflow.move_runs(source, destination)
