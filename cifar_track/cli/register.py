"""`register`: the best run's model becomes the champion."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import preflight
from cifar_track.cli.options import DATA_DIRECTORY, DATASET, QUIET, Number, given
from cifar_track.cli.verb import Verb
from cifar_track.config import (
    DEFAULT_METRIC,
    GATES,
    CifarTrackError,
    Demands,
    registered_name,
    require_chooses,
)


@click.command("register", cls=Verb)
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="Id, beginning of the id or name of a run; one worse than the champion wants --gate none."
    "  [default: the best]",
)
@DATASET
@click.option(
    "--name",
    metavar="TEXT",
    help="The registered model's name.  [default: cifar100-classifier, or the stand-in's own]",
)
@DATA_DIRECTORY
@click.option(
    "--metric",
    default=DEFAULT_METRIC,
    show_default=True,
    help="The figure to choose by, one of the validation images or of what the fit took.",
)
@click.option(
    "--gate",
    type=click.Choice(GATES),
    default="not_worse",
    show_default=True,
    help="How the 95 % interval of the difference in test accuracy to the champion has to lie: "
    "above 0, above less than nothing by --margin, or anyhow.",
)
@click.option(
    "--margin",
    type=Number(0, 1),
    default=0.01,
    show_default=True,
    help="The loss of accuracy that counts as none.",
)
@click.option(
    "--never_predicted",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many classes may never be predicted.",
)
@click.option(
    "--max_megabytes",
    type=Number(min=0),
    default=250.0,
    show_default=True,
    help="The size that the model may have.",
)
@click.option(
    "--max_milliseconds",
    type=Number(min=0),
    default=500.0,
    show_default=True,
    help="The time that one image may take.",
)
@click.option(
    "--fresh_environment",
    type=bool,
    default=False,
    show_default=True,
    help="true: load it in an environment made of its own requirements, which takes minutes.",
)
@click.option(
    "--rollback",
    type=bool,
    default=False,
    show_default=True,
    help="true: give the alias back to the champion before, and do nothing else.",
)
@QUIET
def register(
    *,
    run_id: str | None,
    dataset: str,
    name: str | None,
    data_dir: Path | None,
    metric: str,
    rollback: bool,
    **demands: str | float | bool,
) -> None:
    """Register the best finished run's model and make it the champion.

    The best is chosen among the runs that were judged by the same validation images. Before the
    alias moves, the model has to load where this program is not, predict what was logged, do no
    worse than the champion on the test images, predict every class, and stay within size and time.
    A model that is refused stays registered as the challenger, and the exit status is 3.

    \b
    Examples:
      mlflow run . -e register
      mlflow run . -e register -P run=5f0c1e -P gate=better
      mlflow run . -e register -P rollback=true
    """
    if rollback and run_id:
        raise CifarTrackError("--rollback and --run exclude each other; give one of them")
    asks = next((name for name in ("data_dir", "metric", *demands) if given(name)), None)
    if rollback and asks:
        raise CifarTrackError(f"--rollback looks at nothing of a model; leave --{asks} out")
    if given("margin") and demands["gate"] != "not_worse":
        raise CifarTrackError("--margin is for --gate not_worse; leave it out")
    model = registered_name(dataset, name)  # a mistake is told before seconds of imports
    require_chooses(metric)
    asked = Demands(**demands)  # type: ignore[arg-type]
    if rollback:
        preflight.require_champion(model)
    elif run_id is not None:
        preflight.require_run(run_id, dataset_name=dataset)
    from cifar_track import workflow

    if rollback:
        workflow.roll_back(dataset=dataset, name=name)
        return
    workflow.register_best(
        run_id,
        dataset=dataset,
        name=name,
        data_dir=data_dir,
        metric=metric,
        demands=asked,
    )
