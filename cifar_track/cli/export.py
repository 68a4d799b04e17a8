"""`export`: a model in the forms that other programs run."""

from __future__ import annotations

from pathlib import Path

import click

from cifar_track import preflight
from cifar_track.cli.options import (
    DATA_DIRECTORY,
    DATASET_OF_RUNS,
    QUIET,
    ExpandedPath,
)
from cifar_track.cli.verb import Verb
from cifar_track.config import DEFAULT_DATASET, CifarTrackError, registered_name


@click.command("export", cls=Verb)
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="Id, beginning of the id or name of a run.  [default: the champion's]",
)
@DATASET_OF_RUNS
@click.option("--name", metavar="TEXT", help="The registered model.  [default: the data set's own]")
@click.option(
    "--formats",
    metavar="NAME,NAME,...",
    default="",
    help="Of keras, saved_model, onnx, litert, litert_dynamic.  [default: all]",
)
@click.option(
    "--output",
    type=ExpandedPath(file_okay=False),
    help="Folder for a copy.  [default: none, they are logged to the run]",
)
@DATA_DIRECTORY
@QUIET
def export(
    *,
    run_id: str | None,
    dataset: str | None,
    name: str | None,
    formats: str,
    output: Path | None,
    data_dir: Path | None,
) -> None:
    """Write a model as .keras, SavedModel, ONNX and LiteRT, each checked on all test images.

    ONNX wants the extra `export`. What each is worth beside the original (size, time, agreement)
    is printed and logged to the run.

    \b
    Examples:
      mlflow run . -e export
      python -m cifar_track export --run 5f0c1e --formats litert,litert_dynamic --output there
    """
    if run_id and name:
        raise CifarTrackError("--run and --name exclude each other; give one of them")
    # A mistake is told before seconds of imports.
    if run_id:
        preflight.require_run(run_id, dataset_name=dataset)
    else:
        preflight.require_champion(registered_name(dataset or DEFAULT_DATASET, name))
    from cifar_track import workflow

    workflow.export_model(
        run_id,
        dataset=dataset,
        name=name,
        formats=tuple(formats.replace(",", " ").split()),
        output=output,
        data_dir=data_dir,
    )
