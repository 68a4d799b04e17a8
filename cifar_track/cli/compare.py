"""`compare`: finished runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track.cli.options import DATASET, ExpandedPath


@click.command("compare")
@click.option(
    "--runs",
    metavar="ID,ID,...",
    default="",
    help="Runs of MLflow.  [default: the newest finished run of each iteration]",
)
@DATASET
@click.option(
    "--output",
    type=ExpandedPath(file_okay=False),
    help="Folder for a copy of the comparison.  [default: none, it is logged to MLflow]",
)
def compare(*, runs: str, dataset: str, output: Path | None) -> None:
    """Put runs side by side: settings, metrics, classes, and whether differences are chance.

    \b
    Examples:
      mlflow run . -e compare
      python -m cifar_track compare --runs 5f0c1e,9ab3d2 --output comparison
    """
    from cifar_track import workflow

    workflow.compare_runs(tuple(runs.replace(",", " ").split()), dataset=dataset, output=output)
