"""`ensemble`: several finished runs as one model."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import preflight
from cifar_track.cli.options import (
    DATA_DIRECTORY,
    DATASET_OF_RUNS,
    FILTER,
    QUIET,
    references,
)
from cifar_track.cli.verb import Verb


@click.command("ensemble", cls=Verb)
@click.option(
    "--runs",
    metavar="RUN,RUN,...",
    default="",
    help="Ids, beginnings of ids or names of runs.  [default: all that were judged by the newest "
    "run's validation images]",
)
@FILTER
@click.option("--search", metavar="RUN", help="Also the trials that a search kept by keep=.")
@DATASET_OF_RUNS
@DATA_DIRECTORY
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Of the bags by which the weights are chosen.",
)
@QUIET
def ensemble(
    *,
    runs: str,
    filter_string: str,
    search: str | None,
    dataset: str | None,
    data_dir: Path | None,
    seed: int,
) -> None:
    """Make one model of several runs: a weighted mean of their probabilities.

    Temperatures and weights are chosen by the validation images, the weights by greedy selection in
    bags. What comes out is a run as any other, to be compared, registered and served.

    \b
    Examples:
      mlflow run . -e ensemble
      python -m cifar_track ensemble --runs 5f0c1e,9ab3d2
      mlflow run . -e ensemble -P filter="tags.mlflow.parentRunId = '5f0c1e...'"
    """
    named = references(runs)
    # A mistake is told before seconds of imports.
    preflight.require_runs(named, dataset_name=dataset)
    if search:
        preflight.require_run(search)
    from cifar_track import workflow

    workflow.blend_runs(
        named,
        filter_string=filter_string,
        search=search,
        dataset=dataset,
        data_dir=data_dir,
        seed=seed,
    )
