"""`register`: the best run's model becomes the champion."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track.cli.options import DATA_DIRECTORY, DATASET


@click.command("register")
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="Id, beginning of the id or name of a run.  [default: the best by validation]",
)
@DATASET
@click.option(
    "--name",
    metavar="TEXT",
    help="The registered model's name.  [default: cifar100-classifier, or the stand-in's own]",
)
@DATA_DIRECTORY
def register(*, run_id: str | None, dataset: str, name: str | None, data_dir: Path | None) -> None:
    """Register the best finished run's model and make it the champion.

    The model is read back from the registry and must predict what was logged before the alias
    moves. A run that was chosen by the test images is refused.

    \b
    Examples:
      mlflow run . -e register
      python -m cifar_track register --run 5f0c1e
    """
    from cifar_track import workflow

    workflow.register_best(run_id, dataset=dataset, name=name, data_dir=data_dir)
