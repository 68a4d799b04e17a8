"""The run that `mlflow run` opened before it started this process, and what becomes of it.

`mlflow run` opens a run before it starts the command: in the experiment that
`--experiment-name` or `MLFLOW_EXPERIMENT_NAME` names, otherwise in MLflow's experiment
`Default`, and with the `-P` values as parameters. It reports that run's id at the end. A run
can't be moved to another experiment. Hence:

- Opened in the right experiment (`mlflow run . -e tune --experiment-name cifar100`), it becomes
  the run: everything is logged to it.
- Opened elsewhere, it stays where it is as a record of the call, named and described by a link
  to the run in the right experiment, which carries its id in the tag
  `cifar_track.launcher_run_id`; the tag `cifar_track.run_id` leads the other way. MLflow ends it
  as the command ends. It is not deleted: it is the id that `mlflow run` prints, that
  `mlflow.projects.run` returns, and that holds the `-P` values as typed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.process import identity_tags


@dataclass(frozen=True)
class LauncherRun:
    """The run that `mlflow run` opened."""

    run_id: str
    experiment_id: str
    entry_point: str


def claim_launcher_run() -> LauncherRun | None:
    """Take over the run that `mlflow run` opened for this process; once, then there is none.

    Raises:
        CifarTrackError: `mlflow run` was called in another folder, and its store is not found.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    # Otherwise MLflow's own calls, here and in processes started from here, would go on with
    # the launcher's run and its experiment.
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    if run_id is None:
        return None
    uri = shown(store.open_store())
    try:
        run = store.client().get_run(run_id)
    except MlflowException as error:
        raise CifarTrackError(
            f"the run {run_id} that `mlflow run` opened is not in {uri}; call "
            "`mlflow run` in the project folder, or set MLFLOW_TRACKING_URI to a full address"
        ) from error
    return LauncherRun(
        run_id=run_id,
        experiment_id=run.info.experiment_id,
        entry_point=run.data.tags.get(tag.MLFLOW_ENTRY_POINT, "main"),
    )


def link_launcher_run(launcher: LauncherRun, run: mlflow.entities.Run, *, name: str) -> None:
    """Say in the launcher's run, which lies in another experiment, where its work is found."""
    client = store.client()
    link = store.run_url(run.info.run_id, run.info.experiment_id, base="")
    tags = {
        tag.MLFLOW_NAME: f"mlflow run -e {launcher.entry_point}",
        tag.MLFLOW_NOTE: (
            f"`mlflow run -e {launcher.entry_point}` was called here; what it did is in "
            f"[{name}]({link})."
        ),
        tag.RUN_ID: run.info.run_id,
        **identity_tags(),
    }
    for key, value in tags.items():
        client.set_tag(launcher.run_id, key, value)
