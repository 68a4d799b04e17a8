"""`runs`: searches, trials and the other runs in the terminal."""

from __future__ import annotations

import click

from cifar_track.cli.options import DATASET
from cifar_track.cli.verb import Verb


@click.command("runs", cls=Verb)
@DATASET
@click.option("--sort", "metric", metavar="METRIC", help="The best by it first.  [default: newest]")
@click.option(
    "--filter",
    "filter_string",
    metavar="FILTER",
    default="",
    help="A filter of MLflow's; what matches is listed flat, trials too.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many, not counting the runs under them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="json: every metric and parameter, for scripts.",
)
def show_runs(
    *, dataset: str, metric: str | None, filter_string: str, limit: int, form: str
) -> None:
    """List the runs as a tree: searches with their trials, the newest first, the best marked.

    \b
    Examples:
      mlflow run . -e runs
      python -m cifar_track runs --sort test_accuracy
      python -m cifar_track runs --filter "metrics.best_val_accuracy > 0.4" --format json
    """
    from cifar_track import workflow

    workflow.show_runs(
        dataset=dataset,
        metric=metric,
        filter_string=filter_string,
        limit=limit,
        as_json=form == "json",
    )
