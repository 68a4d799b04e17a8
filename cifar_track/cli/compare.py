"""`compare`: finished runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import preflight
from cifar_track.cli.options import (
    DATASET_OF_RUNS,
    FILTER,
    QUIET,
    ExpandedPath,
    references,
    words,
)
from cifar_track.cli.verb import Verb
from cifar_track.config import CifarTrackError


@click.command("compare", cls=Verb)
@click.option(
    "--runs",
    metavar="RUN,RUN,...",
    default="",
    help="Ids, beginnings of ids or names of runs, which may hold commas.  [default: of each "
    "iteration the newest finished run on the same training and test images as the newest of all, "
    "of 12 at most]",
)
@FILTER
@click.option(
    "--allow",
    metavar="WORD,WORD,...",
    default="",
    help="Show, marked, what can't be compared: different_tests, other_protocol, unfinished, "
    "deleted, trials.",
)
@DATASET_OF_RUNS
@click.option(
    "--output",
    type=ExpandedPath(file_okay=False),
    help="Folder for a copy of the comparison.  [default: none, it is logged to MLflow]",
)
@QUIET
def compare(
    *, runs: str, filter_string: str, allow: str, dataset: str | None, output: Path | None
) -> None:
    """Put runs side by side: settings, metrics, classes, and whether differences are chance.

    \b
    Examples:
      mlflow run . -e compare
      python -m cifar_track compare --runs 5f0c1e,"my named run" --output comparison
      mlflow run . -e compare -P filter="params.optimizer.name = 'sgd'"
    """
    named = references(runs)
    if allow and not named and not filter_string:
        raise CifarTrackError(
            "--allow is for runs that --runs or --filter names; without these, all are alike"
        )
    # A mistake is told before seconds of imports.
    preflight.require_runs(named, dataset_name=dataset)
    from cifar_track import workflow

    workflow.compare_runs(
        named,
        dataset=dataset,
        filter_string=filter_string,
        allow=words(allow),
        output=output,
    )
