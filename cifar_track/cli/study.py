"""`main`: the whole study at a quick budget."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import config
from cifar_track.cli.cluster import no_cluster
from cifar_track.cli.options import DATA_DIRECTORY, QUIET
from cifar_track.cli.verb import Verb


@click.command("main", cls=Verb)
@click.option(
    "--dataset",
    type=click.Choice(("auto", *config.DATASETS)),
    default="auto",
    show_default=True,
    help="auto: CIFAR-100 if it is at hand or can be downloaded, otherwise the stand-in.",
)
@DATA_DIRECTORY
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of every iteration; 0 is a seed.",
)
@no_cluster("main has two, of seconds; expected tune, as in mlflow run . -e tune -P cluster=auto")
@QUIET
def run_study(*, dataset: str, data_dir: Path | None, seed: int) -> None:
    """Run the whole study in minutes: four iterations, a comparison, a registration.

    \b
    Examples:
      mlflow run .
      mlflow run . -P dataset=procedural
      python -m cifar_track main --data_dir ~/cifar-100-python
    """
    from cifar_track import workflow

    workflow.run_study(dataset=dataset, data_dir=data_dir, seed=seed)
