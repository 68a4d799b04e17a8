"""What is read of a finished run's files, and what is said of it afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.exceptions import MlflowException

from cifar_track.config import CifarTrackError
from cifar_track.tracking import store
from cifar_track.tracking.arrays import read_arrays
from cifar_track.tracking.artifacts import PREDICTIONS, VALIDATION
from cifar_track.tracking.queries import FinishedRun, finished_run
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.resolve import describe_run, resolve_run, resolve_runs, with_matching

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PREDICTIONS",
    "VALIDATION",
    "add_files",
    "add_tags",
    "digest_of_data",
    "find_finished_run",
    "find_finished_runs",
    "load_arrays",
    "read_arrays",
]


def find_finished_run(reference: str, *, dataset_name: str | None = None) -> FinishedRun:
    """The finished run that a person means by an id, the beginning of one, or a name.

    Raises:
        CifarTrackError: no run or several are called so, or the run has not finished.
    """
    return _finished(resolve_run(reference, dataset_name=dataset_name))


def find_finished_runs(
    references: Sequence[str], filter_string: str = "", *, dataset_name: str | None = None
) -> list[FinishedRun]:
    """The finished runs that a person means, as `resolve_runs` and `with_matching` find them.

    Raises:
        CifarTrackError: as these, or one of them has not finished.
    """
    found = resolve_runs(references, dataset_name=dataset_name)
    if filter_string:
        found = with_matching(found, filter_string, dataset_name=dataset_name)
    return [_finished(run) for run in found]


def load_arrays(run_id: str, path: str) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file that a run logged.

    Raises:
        CifarTrackError: the run has no such file, or it can't be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = store.client().download_artifacts(run_id, path, folder)
            return read_arrays(Path(file))
        except (MlflowException, OSError, ValueError) as error:
            raise CifarTrackError(
                f"run {run_id} has no {path} that can be read ({first_line(error)}); "
                "run it again, or leave it out"
            ) from error


def add_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Say something more of a run that has ended."""
    for name, value in tags.items():
        store.client().set_tag(run_id, name, value)


def add_files(run_id: str, folder: Path, path: str) -> None:
    """Add a folder's files to those of a run that has ended, under a path of its artifacts."""
    store.client().log_artifacts(run_id, str(folder), path)


def digest_of_data(run_id: str) -> str | None:
    """The digest over the images that a run saw; None where it logged none."""
    inputs = store.client().get_run(run_id).inputs
    return next((e.dataset.digest for e in inputs.dataset_inputs), None) if inputs else None


def _finished(run: mlflow.entities.Run) -> FinishedRun:
    if run.info.status != "FINISHED" or run.info.lifecycle_stage != "active":
        state = run.info.status if run.info.lifecycle_stage == "active" else "deleted"
        raise CifarTrackError(f"run {describe_run(run)} is {state}; name a finished run")
    return finished_run(run)
