"""`repeat`: a finished run again."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import preflight
from cifar_track.cli.cluster import asked_cluster, cluster_options
from cifar_track.cli.options import DATA_DIRECTORY, QUIET
from cifar_track.cli.verb import Verb


@click.command("repeat", cls=Verb)
@click.option("--run", "run_id", metavar="ID", required=True, help="A finished run of MLflow.")
@DATA_DIRECTORY
@cluster_options
@QUIET
def repeat(
    *,
    run_id: str,
    data_dir: Path | None,
    cluster: str | None,
    cpus: int | None,
    gpus: int | None,
) -> None:
    """Run a finished run again from what it logged, and say whether the same came out.

    Every setting is taken from the run; what differs here (commit, packages, threads, processor,
    data, weights file) is said. Predictions of a deterministic run are the same to the bit where
    nothing does; others are compared by the paired test.

    \b
    Examples:
      mlflow run . -e repeat -P run=5f0c1e
      python -m cifar_track repeat --run 5f0c1e --cluster auto --cpus 2
    """
    asked = asked_cluster(cluster, cpus=cpus, gpus=gpus)
    preflight.require_run(run_id)  # a mistake is told before seconds of imports
    from cifar_track import workflow

    workflow.repeat_run(run_id, data_dir=data_dir, cluster=asked)
