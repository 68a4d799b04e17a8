"""`ablate`: what each part of a page brings."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import config
from cifar_track.cli.cluster import no_cluster
from cifar_track.cli.options import DATA_DIRECTORY, MOST_SEEDS, QUIET, RESUME
from cifar_track.cli.verb import Verb


@click.command("ablate", cls=Verb)
@click.option("--experiment", metavar="NAME", required=True, help="A page in experiments/.")
@click.option(
    "--without",
    "leave_out",
    metavar="WORD,WORD,...",
    required=True,
    help="What to switch off, one after the other: settings (cutout), groups of them "
    "(augmentation), or several together (momentum+nesterov).",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, MOST_SEEDS),
    default=3,
    show_default=True,
    help="Runs of each, from the page's seed on; intervals take 3.",
)
@click.option(
    "--set",
    "settings",
    metavar='"NAME=VALUE ..."',
    default="",
    help="Other settings than the page's, in all of the runs.",
)
@DATA_DIRECTORY
@RESUME
@no_cluster("ablate takes no page that searches, and fits on one machine what it compares")
@QUIET
def ablate(
    *,
    experiment: str,
    leave_out: str,
    seeds: int,
    settings: str,
    data_dir: Path | None,
    resume: str,
) -> None:
    """Run a page, and the page without each of its additions: what each gives and costs.

    \b
    Examples:
      mlflow run . -e ablate -P experiment=fast -P without=first_side,label_smoothing,augmentation
      python -m cifar_track ablate --experiment strong --without crop,views --seeds 5
    """
    page = config.load_experiment(experiment)
    overrides = config.parse_overrides(settings)
    # A mistake is told now, before seconds of imports and before anything is logged.
    page = config.override(page, overrides)
    config.require_no_search(page, each="run")
    config.without(page, leave_out)
    from cifar_track import workflow

    workflow.ablate_page(
        experiment,
        overrides,
        leave_out=leave_out,
        seeds=seeds,
        data_dir=data_dir,
        resume=resume,
    )
