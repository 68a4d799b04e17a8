"""`train`: one page of `experiments/`, with any of its settings changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cifar_track import config
from cifar_track.cli.cluster import asked_cluster, cluster_options
from cifar_track.cli.options import DATA_DIRECTORY, MOST_SEEDS, QUIET, RESUME
from cifar_track.cli.verb import Verb
from cifar_track.config import CifarTrackError, Value

Function = TypeVar("Function", bound=Callable[..., Any])

# Options of `train` that are one setting of the page by a short name.
SHORTCUTS = {
    "epochs": ("training.epochs", "Passes over the training images."),
    "batch_size": ("training.batch_size", "Images a step."),
    "learning_rate": ("optimizer.learning_rate", "The optimizer's step size."),
    "seed": ("training.seed", "Seed of weights, order and augmentation; 0 is a seed."),
    "deterministic": ("training.deterministic", "true: the same bits every time, slower."),
    "precision": ("training.precision", f"One of {', '.join(config.PRECISIONS)}."),
    "dataset": ("data.dataset", f"One of {', '.join(config.DATASETS)}."),
    "selection": ("data.selection", "What to choose by: validation, or test as the study did."),
    "weights": ("model.weights", "Of resnet50: imagenet, none, or the path of a weights file."),
    "preprocessing": ("model.preprocessing", "Of resnet50: caffe, study (divide by 255) or none."),
    "image_size": ("model.image_size", "Of resnet50: the side images are enlarged to, in pixels."),
    "trials": ("search.trials", "Of a search: how many settings to try."),
    "tuner": ("search.tuner", f"Of a search: one of {', '.join(config.TUNERS)}."),
    "keep": ("search.keep", "Of a search: how many trials' networks to log, for `ensemble`."),
    "stop": ("search.stop", f"Of a search: which trials end early: {' or '.join(config.STOPS)}."),
    "objective": ("search.objective", f"Of a search: {' or '.join(config.OBJECTIVES)}."),
}


def _options_of_the_page(verb: Function) -> Function:
    for name, (setting, help_text) in reversed(SHORTCUTS.items()):
        verb = click.option(
            f"--{name}", metavar="VALUE", help=f"{help_text}  [{setting}; default: from the page]"
        )(verb)
    return verb


@click.command("train", cls=Verb)
@click.option("--experiment", metavar="NAME", required=True, help="A page in experiments/.")
@_options_of_the_page
@click.option(
    "--set",
    "settings",
    metavar='"NAME=VALUE ..."',
    default="",
    help="Any other settings of the page by their dotted names.",
)
@DATA_DIRECTORY
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Trials of a search, or seeds, at once.  [default: as many as the machine carries]",
)
@cluster_options
@click.option(
    "--seeds",
    type=click.IntRange(2, MOST_SEEDS),
    help="Run the page with so many seeds, from its own on, under one parent, several at once.",
)
@RESUME
@click.option("--run_name", metavar="TEXT", help="The run's name in MLflow.  [default: the page's]")
@QUIET
def train(
    *,
    experiment: str,
    settings: str,
    data_dir: Path | None,
    workers: int | None,
    cluster: str | None,
    cpus: int | None,
    gpus: int | None,
    run_name: str | None,
    seeds: int | None,
    resume: str,
    **shortcuts: str | None,
) -> None:
    """Run one experiment: fit, evaluate, and log all of it.

    A page with a search tries its settings first and fits the best again.

    \b
    Examples:
      mlflow run . -e baseline
      mlflow run . -e tune -P trials=10 -P tuner=bayesian
      mlflow run . -e tune -P cluster=auto -P cpus=2
      mlflow run . -e train -P experiment=adam_bn -P epochs=5
      mlflow run . -e train -P experiment=adam_bn -P seeds=5
      mlflow run . -e train -P experiment=adam_bn -P set="model.dropout_1=0.3 augmentation.zoom=0"
    """
    page = config.load_experiment(experiment)
    overrides = _overrides(page, settings=settings, shortcuts=shortcuts)
    # A mistake is told now, before seconds of imports and before anything is logged.
    page = config.override(page, overrides)
    config.require_unsearched(page, overrides)
    if page.search is not None and page.search.tuner == "hyperband" and shortcuts["trials"]:
        raise CifarTrackError(
            "--trials is not for hyperband, whose brackets make their own number; leave it out"
        )
    if cluster is not None and seeds is not None:
        raise CifarTrackError("--cluster is for the trials of a search, not for --seeds")
    if seeds is not None:
        config.require_no_search(page, each="seed")
    if workers is not None and seeds is None and page.search is None:
        raise CifarTrackError(
            f"--workers is for the trials of a search, or for --seeds; {experiment!r} is one fit"
        )
    asked = asked_cluster(cluster, cpus=cpus, gpus=gpus)
    if asked is not None:
        config.require_search(page)
    from cifar_track import workflow

    if seeds is not None:
        workflow.run_seeds(
            experiment,
            overrides,
            seeds=seeds,
            data_dir=data_dir,
            workers=workers,
            run_name=run_name,
            resume=resume,
        )
        return
    workflow.run_experiment(
        experiment,
        overrides,
        data_dir=data_dir,
        workers=workers,
        cluster=asked,
        run_name=run_name,
        resume=resume,
    )


def _overrides(
    page: config.Experiment, *, settings: str, shortcuts: Mapping[str, str | None]
) -> dict[str, Value]:
    overrides: dict[str, Value] = dict(config.parse_overrides(settings))
    known = config.flatten(page).keys() | {
        f"model.{name}"
        for name in config.architecture_settings(
            str(overrides.get("model.architecture", page.model.architecture))
        )
    }
    for name, value in shortcuts.items():
        setting = SHORTCUTS[name][0]
        if value is None:
            continue
        if setting not in known:
            raise CifarTrackError(f"--{name} is not for {page.name!r}: it has no {setting}")
        if setting in overrides:
            raise CifarTrackError(f"{setting} is given twice: by --{name} and in --set")
        overrides[setting] = value
    return overrides
