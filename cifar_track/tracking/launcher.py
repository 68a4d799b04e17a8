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

Only a run that waits for this very command is taken: RUNNING, opened by `mlflow run` as long ago as
a launch may take, and never worked on. Any other that `MLFLOW_RUN_ID` names is left as it is, such
as a finished one, or the one that an earlier command of the same entry point has taken.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils import name_utils

from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.claim import Claim, claim_run, was_ever_held
from cifar_track.tracking.process import identity_tags

# Making an environment, which `mlflow run` does after it has opened the run, takes minutes.
LAUNCH_MINUTES = 60.0


@dataclass(frozen=True)
class LauncherRun:
    """The run that `mlflow run` opened, claimed for this process.

    Attributes:
        name: what the person called it with `--run-name`; None where MLflow made a name up.
    """

    run_id: str
    experiment_id: str
    entry_point: str
    name: str | None
    claim: Claim


def claim_launcher_run() -> LauncherRun | None:
    """Claim the run that `mlflow run` opened for this process; once, then there is none.

    Raises:
        CifarTrackError: `mlflow run` was called in another folder, and its store is not found.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    # Otherwise MLflow's own calls, here and in processes started from here, would go on with
    # the launcher's run and its experiment.
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    if not run_id:  # set to nothing, as a shell's way of not setting it
        return None
    uri = shown(store.open_store())
    try:
        run = store.client().get_run(run_id)
    except MlflowException as error:
        raise CifarTrackError(
            f"the run {run_id} that `mlflow run` opened is not in {uri}; call "
            "`mlflow run` in the project folder, or set MLFLOW_TRACKING_URI to a full address"
        ) from error
    if not _waits_for_a_command(run):
        return None
    try:
        claim = claim_run(run_id)
    except CifarTrackError:  # the other command of the same entry point was quicker
        return None
    return LauncherRun(
        run_id=run_id,
        experiment_id=run.info.experiment_id,
        entry_point=run.data.tags.get(tag.MLFLOW_ENTRY_POINT, "main"),
        name=None if _is_made_up(run.info.run_name) else run.info.run_name,
        claim=claim,
    )


def link_launcher_run(launcher: LauncherRun, run: mlflow.entities.Run, *, name: str) -> None:
    """Say in the launcher's run, which lies in another experiment, where its work is found."""
    client = store.client()
    link = store.run_url(run.info.run_id, run.info.experiment_id, base="")
    tags = {
        tag.MLFLOW_NAME: launcher.name or f"mlflow run -e {launcher.entry_point}",
        tag.MLFLOW_NOTE: (
            f"`mlflow run -e {launcher.entry_point}` was called here; what it did is in "
            f"[{name}]({link})."
        ),
        tag.RUN_ID: run.info.run_id,
        **identity_tags(),
    }
    for key, value in tags.items():
        client.set_tag(launcher.run_id, key, value)


def _waits_for_a_command(run: mlflow.entities.Run) -> bool:
    age = time.time() - run.info.start_time / 1000
    return (
        run.info.status == "RUNNING"
        and run.info.lifecycle_stage == "active"
        and run.data.tags.get(tag.MLFLOW_SOURCE_TYPE) == "PROJECT"
        and age < 60 * LAUNCH_MINUTES
        and not was_ever_held(run)
    )


def _is_made_up(name: str) -> bool:
    """Whether MLflow made the name up, such as `valuable-lark-5`, because nobody gave one."""
    predicate, _, rest = name.partition("-")
    noun, _, number = rest.partition("-")
    return (
        predicate in name_utils._GENERATOR_PREDICATES  # noqa: SLF001
        and noun in name_utils._GENERATOR_NOUNS  # noqa: SLF001
        and number.isdecimal()
    )
