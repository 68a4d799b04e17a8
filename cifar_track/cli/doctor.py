"""`doctor`: what crashed processes left behind, mended."""

from __future__ import annotations

import click

from cifar_track.cli.options import Number
from cifar_track.cli.verb import Verb


@click.command("doctor", cls=Verb)
@click.option(
    "--dry_run",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=False,
    show_default=True,
    help="true: say what would be mended, and leave it.",
)
@click.option(
    "--older_than",
    metavar="MINUTES",
    type=Number(min=0),
    help="Also end runs silent for so long whose process can't be looked at from here.",
)
def mend(*, dry_run: bool, older_than: float | None) -> None:
    """Find what crashed or killed processes left behind, such as runs RUNNING for ever.

    \b
    Examples:
      mlflow run . -e doctor
      python -m cifar_track doctor --dry_run
    """
    from cifar_track import workflow

    workflow.mend_runs(dry_run=dry_run, older_than=older_than)
